"""Answer the poster's open question: do priors matched to a feature disentangle it?

Trains small VAEs whose code has a Gaussian, a uniform or another prior on images whose factors have
chosen laws, and the main job's models on MNIST; measures what each code tells of each factor; and
judges the hypotheses by rules that were fixed before (docs/studies/open-question.md). Leaves a
table (open_question.csv, a row for each run), a report (open_question.md) and figures, from the
runs' folders. What is done is skipped and what was stopped goes on: start the same command again.
Seeds can be added to a table whose folders are gone: --earlier takes it.

    python -m experiments.open_question --workers 2
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.command_line import Switch, check_settings, parse, smoke_folder
from experiments.open_question.design.cells import (
    Block,
    Scale,
    blocks,
    smoke_blocks,
    stages,
)
from experiments.open_question.earlier import check_kept, read_table, seeds_of
from experiments.open_question.report.document import report, write_report
from experiments.open_question.rows import read_rows
from experiments.runner.stages import STUDY, StudyConfig, chosen, run_stages
from experiments.tables import Row
from pyro_mivae.checks import check_count, optional


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    seeds: int | None = None
    """At most as many seeds of each cell; None for the number of each block."""
    add_seeds: Switch = False
    """Add a block of seeds of G and T on re-inked digits, up to 80: once, if the verdict asks."""
    earlier: Path | None = None
    """Table of earlier runs (docs/results/open_question.csv, for one): they are in the report, and
    ten seeds of a cell that it has all are not run again."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(Config, "open_question", __doc__, arguments)
    folder = config.out or Path("runs") / "open-question"
    scale: Scale = "full"
    every = blocks(add_seeds=config.add_seeds)
    if config.smoke:
        folder, every, scale = smoke_folder(config.out), smoke_blocks(), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        check_settings(config, {**STUDY, "seeds": optional(check_count)})
        if config.earlier is not None and config.smoke:
            raise ValueError("--earlier has runs of the full size: leave it out with --smoke")
        earlier = [] if config.earlier is None else read_table(config.earlier)
        todo = stages(
            chosen(every, config.blocks),
            folder,
            seeds=config.seeds,
            scale=scale,
            known=seeds_of(earlier),
        )
        _check(every, config, folder, earlier)
        return run_stages(
            config, folder, todo, lambda: write_report(every, folder, config.docs, earlier)
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _check(every: Sequence[Block], config: Config, folder: Path, earlier: Sequence[Row]) -> None:
    """Finds what is wrong with tables before anything is trained; says what is in the report."""
    rows = read_rows(every, folder, earlier)
    for place in [folder, *([config.docs / "results"] if config.docs else [])]:
        check_kept(rows, place)
    if config.earlier is not None:
        taken = len({id(row) for row in rows} & {id(row) for row in earlier})
        print(f"{len(rows) - taken} runs of {folder}, {taken} of {config.earlier}")
        try:
            report(every, rows)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"--earlier: {config.earlier} is of another version of the study ({error}): take "
                "the code that it was made by"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
