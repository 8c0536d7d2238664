"""Studies in parts: what is chosen of them, run stage by stage, and reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from experiments.runner.engine import StudyConfig, keep_apart
from experiments.runner.pool import report_outcomes
from experiments.runner.run import Outcome, Run
from pyro_mivae.progress import part

KINDS = {
    "mnist": "trainings",
    "infogan": "trainings",
    "train_arm": "trainings",
    "train_cell": "trainings",
    "draw_data": "data sets",
    "information": "measurements",
    "generator": "measurements",
    "measure_codes": "measurements",
}
"""What runs of a program are, by the last part of its module's name."""


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
    config: StudyConfig,
    folder: Path,
    stages: Iterable[Sequence[Run]],
    write_report: Callable[[], Path | None],
    *,
    again: str,
    closing: Callable[[], None],
    ended: Callable[[Outcome], None] = lambda outcome: None,
) -> int:
    """Runs one stage after the other, until one is stopped, and writes the report.

    Args:
        config: Machines that execute the runs, and whether these are those of a --smoke.
        folder: Folder of the study.
        stages: Runs of each stage.
        write_report: Function that writes the report of what is done so far.
        again: Command that goes on with what is not done.
        closing: Function that prints in words what came out and which number to trust.
        ended: Function that is told of each run, as soon as it has ended.

    Returns:
        The program's exit code.

    Raises:
        ValueError: If the folder has runs of another size, see :func:`keep_apart`.
    """
    keep_apart(folder, config.smoke)
    outcomes: list[Outcome] = []
    full = [todo for todo in stages if todo]
    for number, todo in enumerate(full, start=1):
        with part(number, len(full)):
            outcomes += config.run(todo, folder, _kind(todo), ended)
        if any(outcome.status == "stopped" for outcome in outcomes):
            break
    report_path = write_report()
    then = f"read {report_path}" if report_path else f"start it with runs\n  {again}"
    if report_path:
        closing()
        print(f"report: {report_path}")
    return report_outcomes(outcomes, folder, again, then)


def _kind(todo: Sequence[Run]) -> str:
    """Names what runs do, for their bar."""
    kinds = {KINDS.get(run.module.rpartition(".")[2], "runs") for run in todo}
    return kinds.pop() if len(kinds) == 1 else "runs"
