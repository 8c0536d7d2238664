"""The reproduction of the poster.

Its command line is in :mod:`experiments.poster.config`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from experiments.command_line import check_settings, command, say, smoke_folder
from experiments.poster.config import CHECKS, parse
from experiments.poster.report import write_report
from experiments.poster.rows import SIDES, read_rows
from experiments.poster.trainings import Block, blocks, smoke_blocks
from experiments.runner.run import Run
from experiments.runner.stages import chosen, run_stages
from experiments.tables import Row, at, number


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(arguments)
    try:
        check_settings(config, CHECKS)
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
        return run_stages(
            config,
            folder,
            todo,
            lambda: write_report(every, folder, config.docs),
            again=command("poster", arguments),
            closing=lambda: say(sentences(every, folder)),
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def sentences(every: Sequence[Block], folder: Path) -> list[str]:
    """Tells what the poster's information is, and which of its numbers to trust."""
    rows = read_rows((t for b in every if b.name == "figure-3" for t in b.trainings), folder)
    lines = []
    for name, weight in (("With the term on c", 1.0), ("Without the term", 0.0)):
        chosen = at(rows, mi_weight=weight)
        if not chosen:
            continue
        line = f"{name} the poster's score of c is {_mean(chosen, 'mi/c/mean')} nats"
        measured = [row for row in chosen if "upper/c/refitted" in row]
        if measured:
            low, high = (_mean(measured, f"{side}/c/refitted") for side in SIDES)
            line += f"; the information I(c; x') itself lies between {low} and {high} nats"
        lines.append(f"{line} (means over seeds).")
    return [*lines, "Trust the columns 'between' of the refitted guide. The score is no bound."]


def _mean(rows: Sequence[Row], column: str) -> str:
    return number(fmean(row[column] for row in rows), 1)


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
