"""The map of where the noise is ignored.

Its command line is in :mod:`experiments.capacity.config`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from experiments.capacity.config import CHECKS, Config, parse
from experiments.capacity.report import sentences, write_report
from experiments.capacity.rows import ROWS, TABLE
from experiments.capacity.trainings import (
    LONG,
    MAP,
    Block,
    Scale,
    Training,
    blocks,
    missing,
    smoke_blocks,
    todo_of,
)
from experiments.command_line import check_settings, command, say, smoke_folder
from experiments.row_table import run_table_study
from experiments.runner.stages import chosen


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(arguments)
    folder = config.out or Path("runs") / "capacity"
    scale: Scale = "full"
    if config.smoke:
        folder, scale = smoke_folder(config.out), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        check_settings(config, CHECKS)
        if config.smoke and config.table is not None:
            raise ValueError("--table has runs of the full size: leave it out with --smoke")
        table = config.table or folder / TABLE
        again = command("capacity", arguments)
        if not config.smoke:
            _check_parts(config, table)
        code = _run(config, folder, table, scale, again)
        waits = LONG in config.blocks or not config.blocks
        if code == 0 and waits and not config.smoke and _todo(config, table, LONG):
            code = _run(config, folder, table, scale, again)
        return code
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _check_parts(config: Config, table: Path) -> None:
    """Checks that the longer trainings, if they are named, have a part to be chosen from.

    Raises:
        ValueError: If they are named alone, and no part of the map is whole.
    """
    if LONG not in config.blocks or set(config.blocks) & set(MAP):
        return
    rows = ROWS.read(table)
    lacking = {part: len(missing(rows, part, config.seeds)) for part in MAP}
    if all(lacking.values()):
        what = " and ".join(f"{number} of {part}" for part, number in lacking.items())
        raise ValueError(
            f"--blocks {LONG} trains on what a whole part of the map has chosen, and {table} lacks "
            f"{what}: add a part to --blocks, or leave --blocks out"
        )


def _parts(config: Config, table: Path) -> list[Block]:
    """The parts of the study; the longer trainings are chosen by what is in the table."""
    if config.smoke:
        return smoke_blocks()
    return blocks(ROWS.read(table), config.seeds, config.long_seeds)


def _todo(config: Config, table: Path, name: str) -> list[Training]:
    """The trainings of a part that have no row."""
    known = {row["run"] for row in ROWS.read(table)}
    return list(todo_of(chosen(_parts(config, table), [name]), known))


def _run(config: Config, folder: Path, table: Path, scale: Scale, again: str) -> int:
    every = _parts(config, table)
    selected = chosen(every, config.blocks)
    return run_table_study(
        config,
        folder,
        table,
        ROWS,
        names=(training.name for part in every for training in part.trainings),
        stages=lambda known: [[t.run(scale) for t in todo_of(selected, known)]],
        write_report=lambda: write_report(table, folder, config.docs),
        again=again,
        closing=lambda: say(sentences(ROWS.read(table))),
    )


if __name__ == "__main__":
    sys.exit(main())
