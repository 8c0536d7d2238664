"""Studies in parts: what is chosen of them, run stage by stage, and reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from experiments.command_line import Switch, check_folder
from experiments.runner.pool import report_outcomes, run_with_bar
from experiments.runner.run import Outcome, Run
from pyro_mivae.checks import Check, check_count, optional


@dataclass(frozen=True)
class Engine:
    """The machines that execute runs."""

    workers: int = 1
    """Runs at a time on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://...), whose workers take the runs instead."""
    threads: int | None = None
    """Threads of a run; None shares the cores, or on a cluster keeps each worker's environment."""

    def run(self, todo: Sequence[Run], folder: Path) -> list[Outcome]:
        """Executes runs with a progress bar, see :func:`run_study`."""
        return run_with_bar(
            todo,
            folder,
            workers=self.workers,
            scheduler=self.scheduler,
            threads=self.threads,
        )


@dataclass(frozen=True)
class StudyConfig(Engine):
    """Which parts of a study are run, and where."""

    blocks: tuple[str, ...] = ()
    """Names of the parts to run; all by default, none with "none" (the report alone)."""
    out: Path | None = None
    """Folder of the runs, to be started again and added to; by default runs/ and the study's
    name."""
    docs: Path | None = None
    """Folder of a documentation whose results/ and figures/ get the report, too."""
    smoke: Switch = False
    """A few runs of seconds in a folder of their own, through everything."""


ENGINE: dict[str, Check] = {"workers": check_count, "threads": optional(check_count)}
"""What the settings of an :class:`Engine` may be."""
STUDY: dict[str, Check] = {**ENGINE, "out": check_folder, "docs": check_folder}
"""What the settings of a :class:`StudyConfig` may be."""


class StudyBlock(Protocol):
    """A part of a study."""

    @property
    def name(self) -> str:
        """Name that --blocks takes."""


AnyBlock = TypeVar("AnyBlock", bound=StudyBlock)


def chosen(every: Sequence[AnyBlock], names: Sequence[str]) -> list[AnyBlock]:
    """Selects the blocks of these names; all if there are none, no block with "none".

    Raises:
        ValueError: If a name is unknown.
    """
    known = [block.name for block in every]
    if unknown := [name for name in names if name not in (*known, "none")]:
        raise ValueError(f"--blocks: expected some of {', '.join(known)} or none, found {unknown}")
    return [block for block in every if not names or block.name in names]


def run_stages(
    engine: Engine,
    folder: Path,
    stages: Iterable[Sequence[Run]],
    write_report: Callable[[], Path | None],
) -> int:
    """Runs one stage after the other, until one is stopped, and writes the report.

    Returns:
        The program's exit code.
    """
    outcomes: list[Outcome] = []
    for todo in stages:
        outcomes += engine.run(todo, folder)
        if any(outcome.status == "stopped" for outcome in outcomes):
            break
    if report_path := write_report():
        print(f"report: {report_path}")
    return report_outcomes(outcomes, folder)
