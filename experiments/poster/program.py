"""Reproduce the poster of 2016: its figures, its claims, and what its mutual information is.

Trains the poster's VAE on the full MNIST with and without the term, with all four channels, over
lambda, beta, sizes and seeds; measures the information of the main runs from both sides; and
leaves a table (poster.csv), a report (poster.md) and the figures, all from the runs' folders. What
is done is skipped and what was stopped goes on: start the same command again. It takes three to
six hours on 2 cores.

    python -m experiments.poster --workers 2
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.command_line import check_settings, parse, smoke_folder
from experiments.poster.report import write_report
from experiments.poster.trainings import Block, blocks, smoke_blocks
from experiments.runner.run import Run
from experiments.runner.stages import STUDY, StudyConfig, chosen, run_stages
from pyro_mivae.checks import check_count


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    seeds: int = 3
    """Seeds of the poster's settings."""
    figure_4_seeds: int = 8
    """Seeds of the trainings with 10 + 10 dimensions; those beyond --seeds have 10 epochs."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(Config, "poster", __doc__, arguments)
    try:
        check_settings(config, {**STUDY, **dict.fromkeys(("seeds", "figure_4_seeds"), check_count)})
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder, scale = config.out or Path("runs") / "poster", "full"
    every = blocks(config.seeds, config.figure_4_seeds)
    if config.smoke:
        folder, every, scale = smoke_folder(config.out), smoke_blocks(), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        todo = stages(chosen(every, config.blocks), folder, scale)
        return run_stages(config, folder, todo, lambda: write_report(every, folder, config.docs))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def stages(todo: Sequence[Block], folder: Path, scale: str) -> list[list[Run]]:
    """Sorts the runs: what is to be measured, its measurements, and the rest."""
    measured = [t for block in todo if block.measured for t in block.trainings]
    others = [t for block in todo if not block.measured for t in block.trainings]
    measured = list(dict.fromkeys(measured))
    others = [t for t in dict.fromkeys(others) if t not in measured]
    return [
        [training.run(scale) for training in measured],
        [training.measurement(folder, scale) for training in measured],
        [training.run(scale) for training in others],
    ]


if __name__ == "__main__":
    sys.exit(main())
