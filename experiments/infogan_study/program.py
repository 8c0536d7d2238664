"""The study of InfoGAN's properties.

Its command line is in :mod:`experiments.infogan_study.config`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from experiments.command_line import check_settings, command, say, smoke_folder
from experiments.infogan_study.config import CHECKS, parse
from experiments.infogan_study.design.cells import (
    FULL,
    SEEDS,
    SMOKE,
    blocks,
    smoke_blocks,
    stages,
)
from experiments.infogan_study.report.document import sentences, write_report
from experiments.infogan_study.rows import ROWS, TABLE
from experiments.row_table import run_table_study
from experiments.runner.stages import chosen


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(arguments)
    folder, every, scale = config.out or Path("runs") / "infogan-study", smoke_blocks(), SMOKE
    if config.smoke:
        folder = smoke_folder(config.out)
        config = dataclasses.replace(config, workers=2)
    try:
        check_settings(config, CHECKS)
        if not config.smoke:
            every, scale = blocks(config.seeds or SEEDS), FULL
        elif config.table is not None:
            raise ValueError("--table has runs of the full size: leave it out with --smoke")
        table, todo = config.table or folder / TABLE, chosen(every, config.blocks)
        return run_table_study(
            config,
            folder,
            table,
            ROWS,
            names=(run.name for block in every for run in block.runs()),
            stages=lambda known: stages(todo, known, scale),
            write_report=lambda: write_report(table, folder, config.docs),
            again=command("infogan_study", arguments),
            closing=lambda: say(sentences(ROWS.read(table))),
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
