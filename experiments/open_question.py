"""Answer the poster's open question: do priors matched to a feature disentangle it?

Trains small VAEs whose code has a Gaussian, a uniform or another prior on images whose factors have
chosen laws, and the main job's models on MNIST; measures what each code tells of each factor; and
judges the hypotheses by rules that were fixed before (docs/open-question.md). Leaves a table
(open_question.csv, a row for each run), a report (open_question.md) and figures, all from the runs'
folders. What is done is skipped and what was stopped goes on: start the same command again.

    python -m experiments.open_question --workers 2
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments._question_report import write_report
from experiments._question_runs import blocks, smoke_blocks, stages
from experiments._study import chosen, report_outcomes, run_with_bar


@dataclass(frozen=True)
class Config:
    """What is run, and where."""

    blocks: tuple[str, ...] = ()
    """Names of the parts to run; all by default, none with "none" (the report alone)."""
    seeds: int | None = None
    """At most as many seeds of each cell; None for the number of each block."""
    add_seeds: bool = False
    """Add seeds to the cells that H1 is judged by, up to 80: once, if the verdict asks for it."""
    workers: int = 1
    """Runs at a time on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://...), whose workers take the runs instead."""
    threads: int | None = None
    """Threads of a run; None shares the cores, or on a cluster keeps each worker's environment."""
    out: Path | None = None
    """Folder of the runs; runs/open-question by default, to be started again and added to."""
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
        prog="python -m experiments.open_question",
        description=__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    folder, scale = config.out or Path("runs") / "open-question", "full"
    every = blocks(add_seeds=config.add_seeds)
    if config.smoke:
        folder = config.out or Path("runs") / f"smoke-{time.strftime('%Y%m%d-%H%M%S')}"
        every, scale = smoke_blocks(), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        if config.seeds is not None and config.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, found {config.seeds}")
        outcomes = []
        todo = chosen(every, config.blocks)
        for runs in stages(todo, folder, seeds=config.seeds, scale=scale):
            outcomes += run_with_bar(
                runs,
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


if __name__ == "__main__":
    sys.exit(main())
