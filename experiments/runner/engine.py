"""The settings of programs that execute runs: where, and which. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.command_line import Switch, check_folder
from pyro_mivae.checks import Check, check_count, optional

if TYPE_CHECKING:
    from experiments.runner.run import Outcome, Run


@dataclass(frozen=True)
class Engine:
    """The machines that execute runs."""

    workers: int = 1
    """Runs at a time on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://...), whose workers take the runs instead."""
    threads: int | None = None
    """Threads of a run; None shares the cores, or on a cluster keeps each worker's environment."""

    def run(
        self,
        todo: Sequence[Run],
        folder: Path,
        what: str = "runs",
        ended: Callable[[Outcome], None] = lambda outcome: None,
    ) -> list[Outcome]:
        """Executes runs with a progress bar that is named `what`, see :func:`run_study`.

        Args:
            todo: Runs to execute.
            folder: Folder of the study.
            what: Name of the bar.
            ended: Function that is told of each run, as soon as it has ended.
        """
        from experiments.runner.pool import run_with_bar  # loads torch

        return run_with_bar(
            todo,
            folder,
            what,
            ended,
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


def keep_apart(folder: Path, smoke: bool) -> None:
    """Keeps the short runs of a --smoke and those of full size out of each other's folder.

    They have the same names, by which a study knows what is done.

    Raises:
        ValueError: If the folder has the others.
    """
    state = folder / ".study"
    mark = state / "smoke"
    if state.is_dir() and mark.exists() != smoke:
        kind = "of a --smoke" if mark.exists() else "of full size"
        raise ValueError(f"{folder} has runs {kind}: choose another --out")
    if smoke:
        state.mkdir(parents=True, exist_ok=True)
        mark.touch()


ENGINE: dict[str, Check] = {"workers": check_count, "threads": optional(check_count)}
"""What the settings of an :class:`Engine` may be."""
STUDY: dict[str, Check] = {**ENGINE, "out": check_folder, "docs": check_folder}
"""What the settings of a :class:`StudyConfig` may be."""
