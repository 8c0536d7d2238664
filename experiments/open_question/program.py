"""The study of the poster's open question.

Its command line is in :mod:`experiments.open_question.config`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command_line import check_settings, command, say, smoke_folder
from experiments.open_question.config import CHECKS, Config, parse
from experiments.open_question.design.cells import (
    Block,
    Scale,
    blocks,
    smoke_blocks,
    stages,
)
from experiments.open_question.earlier import check_kept, read_table, seeds_of
from experiments.open_question.report.document import NAME, report, write_report
from experiments.open_question.rows import read_rows
from experiments.runner.stages import chosen, run_stages
from experiments.tables import Row


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(arguments)
    folder = config.out or Path("runs") / "open-question"
    scale: Scale = "full"
    every = blocks(add_seeds=config.add_seeds)
    if config.smoke:
        folder, every, scale = smoke_folder(config.out), smoke_blocks(), "smoke"
        config = dataclasses.replace(config, workers=2)
    try:
        check_settings(config, CHECKS)
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
            config,
            folder,
            todo,
            lambda: write_report(every, folder, config.docs, earlier),
            again=command("open_question", arguments),
            closing=lambda: say(sentences(folder)),
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def sentences(folder: Path) -> list[str]:
    """Says what the study found on the poster's claim, and which numbers to trust."""
    lines = (folder / f"{NAME}.md").read_text(encoding="utf-8").splitlines()
    verdict = next((line for line in lines if line.startswith("**H1: ")), "")
    return [
        f"The poster's claim, {verdict.replace('**', '')}",
        "Trust the verdicts, which the rules fixed before the runs give; one that is void, or not "
        "judged yet, says nothing of its claim. Single seeds differ: read intervals, not runs.",
    ]


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
