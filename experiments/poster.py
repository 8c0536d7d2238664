"""Reproduce the poster of 2016: its figures, its claims, and what its mutual information is.

Trains the poster's VAE on the full MNIST with and without the term, with all four channels, over
lambda, beta, sizes and seeds; measures the information of the main runs from both sides; and
leaves a table (poster.csv), a report (poster.md) and the figures, all from the runs' folders. What
is done is skipped and what was stopped goes on: start the same command again. It takes about six
hours on 2 cores.

    python -m experiments.poster --workers 2
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments._execute import Run
from experiments._poster_report import write_report
from experiments._poster_runs import Block, blocks, smoke_blocks
from experiments._study import chosen, report_outcomes, run_with_bar


@dataclass(frozen=True)
class Config:
    """What is run, and where."""

    seeds: int = 3
    """Seeds of the poster's settings."""
    figure_4_seeds: int = 8
    """Seeds of the trainings with 10 + 10 dimensions; those beyond --seeds have 10 epochs."""
    blocks: tuple[str, ...] = ()
    """Names of the parts to run; all by default, none with "none" (the report alone)."""
    workers: int = 1
    """Runs at a time on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://...), whose workers take the runs instead."""
    threads: int | None = None
    """Threads of a run; None shares the cores, or on a cluster keeps each worker's environment."""
    out: Path | None = None
    """Folder of the runs; runs/poster by default, to be started again and added to."""
    docs: Path | None = None
    """Folder of a documentation whose results/ and figures/ get the report, too."""
    smoke: bool = False
    """A few runs of seconds in a folder of their own, through everything."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    config = tyro.cli(
        Config,
        args=sys.argv[1:] if arguments is None else arguments,
        prog="python -m experiments.poster",
        description=__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    folder, scale = config.out or Path("runs") / "poster", "full"
    every = blocks(config.seeds, config.figure_4_seeds)
    if config.smoke:
        folder = config.out or Path("runs") / f"smoke-{time.strftime('%Y%m%d-%H%M%S')}"
        every, scale = smoke_blocks(), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        outcomes = []
        for todo in stages(chosen(every, config.blocks), folder, scale):
            outcomes += run_with_bar(
                todo,
                folder,
                workers=config.workers,
                scheduler=config.scheduler,
                threads=config.threads,
            )
            if any(outcome.status == "stopped" for outcome in outcomes):
                break
        found = write_report(every, folder, config.docs)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if found:
        print(f"report: {found}")
    return report_outcomes(outcomes, folder)


def stages(todo: Sequence[Block], folder: Path, scale: str) -> list[list[Run]]:
    """What has to be trained first, its measurements, and the rest."""
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
