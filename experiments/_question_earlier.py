"""The table of earlier runs of `experiments.open_question`, read as their folders are."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments._markdown import Row
from experiments._question_numbers import SCORES, cell_of
from experiments._question_runs import Cell

ALWAYS = ("run", "arm", "data", "mi_weight", "code_scale", "seed", *SCORES)
ALWAYS += ("posterior_ks", "factor_ks", "set_measured", "mi")
"""Columns that every run has, though some of them may be empty."""
TEXT = ("run", "arm", "data", "channel", "leading_top")


def read_table(path: Path) -> list[Row]:
    """The rows of a table that :func:`experiments._question_report.write_report` has written.

    A CSV does not tell a value that is not defined from one that a run has not at all: a column
    belongs to a run if any run of its cell has a value there.

    Raises:
        ValueError: If it is no such table.
        OSError: If it can't be read.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        if lacking := [name for name in ALWAYS if name not in columns]:
            raise ValueError(
                f"expected a table of experiments.open_question (open_question.csv), but {path} "
                f"has no column {lacking[0]!r}: name another file"
            )
        rows = []
        for line in reader:
            try:
                rows.append(_row(line))
            except ValueError as error:
                where = f"{path}, line {reader.line_num}"
                raise ValueError(f"{where}: {error}. Take a whole copy of the table") from None
    if not rows:
        raise ValueError(f"{path} has no run: expected a row for each, name another file")
    known: dict[Cell, set[str]] = {}
    for row in rows:
        there = known.setdefault(cell_of(row), set(ALWAYS))
        there |= {name for name, value in row.items() if value is not None}
        # A code that moves nothing has slopes, of which no share is defined.
        there |= {n.replace("slope/", "exclusivity/", 1) for n in there if n[:6] == "slope/"}
    return [{n: value for n, value in row.items() if n in known[cell_of(row)]} for row in rows]


def seeds_of(rows: Iterable[Row]) -> dict[str, set[int]]:
    """The seeds that a table has, by the names of cells and main models."""
    found: dict[str, set[int]] = {}
    for row in rows:
        name = row["run"] if row["data"] == "mnist" else cell_of(row).name
        found.setdefault(name, set()).add(row["seed"])
    return found


def _row(line: Mapping[str | None, Any]) -> Row:
    """The values of a line; ``csv`` marks cells too many or too few by None."""
    if None in line or None in line.values():
        raise ValueError("expected as many cells as there are columns")
    row = {str(column): _value(str(column), text) for column, text in line.items()}
    if lacking := [n for n in ("run", "arm", "data", "mi_weight", "seed") if row[n] is None]:
        raise ValueError(f"expected a value of {lacking[0]}, found none")
    return row


def _value(column: str, text: str) -> object:
    """As it was in the run's JSON."""
    if text == "":
        return None
    if column in TEXT or column.startswith("top/"):
        return text
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    raise ValueError(f"expected a number for {column}, found {text!r}")
