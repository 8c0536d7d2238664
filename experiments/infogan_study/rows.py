"""The table of `experiments.infogan_study`: a row a run, added to as runs end, and read again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.infogan_study.design.cells import CELLS, MOST_SEEDS, Cell
from experiments.tables import Row, leaving_out, read_json, read_lines, write_table
from pyro_mivae import runs
from pyro_mivae.runs.flock import wait
from pyro_mivae.runs.names import check_name, from_cell

NAME = "infogan_study"
TABLE = f"{NAME}.csv"
TEXT = ("run", "training", "prior", "term", "data")
WHOLE = ("category", "seed", "steps")
ALWAYS = (
    *(*TEXT, *WHOLE, "alignment", "I_T", "I_S", "unmeasured", "frechet", "rarest", "explained"),
    *("bound/c", "set_measured/thickness", "set_measured/slant"),
)
"""Columns that every table has."""


def cell_of(row: Row) -> Cell:
    """Returns the cell of a row."""
    return Cell(row["training"], bool(row["category"]), row["prior"], row["term"], row["data"])


def value(row: Row, column: str) -> float:
    """Returns a number of a row; NaN where it is not defined."""
    number = row.get(column)
    return math.nan if number is None else float(number)


def values_by_cell(
    rows: Iterable[Row], measure: Callable[[Row], float]
) -> dict[Cell, dict[int, float]]:
    """Collects a measure by cell and seed."""
    table: dict[Cell, dict[int, float]] = {}
    for row in rows:
        table.setdefault(cell_of(row), {})[row["seed"]] = measure(row)
    return table


def replicates(rows: Sequence[Row]) -> list[Row]:
    """Selects the rows of whole replicates: the seeds of the study that all cells have."""
    seeds_of: dict[Cell, set[int]] = {cell: set() for cell in CELLS}
    for row in rows:
        seeds_of.setdefault(cell_of(row), set()).add(row["seed"])
    common = set(range(MOST_SEEDS)).intersection(*(seeds_of[cell] for cell in CELLS))
    return [row for row in rows if row["seed"] in common and cell_of(row) in CELLS]


def read_table(path: Path) -> list[Row]:
    """Reads the rows of a table; none if there is no file.

    Raises:
        ValueError: If it is no such table, or has a run twice.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    for number, line in read_lines(path, ALWAYS, f"experiments.{NAME}"):
        try:
            row = _row(line)
            if any(row["run"] == other["run"] for other in rows):
                raise ValueError(f"expected each run once, found {row['run']} again")
        except ValueError as error:
            where = f"{path}, line {number}"
            raise ValueError(f"{where}: {error}. Take a whole copy of the table") from None
        rows.append(row)
    return rows


def _row(line: Mapping[Any, Any]) -> Row:
    if None in line or None in line.values():
        raise ValueError("expected as many cells as there are columns")
    row: Row = {}
    for column, cell in line.items():
        text = from_cell(cell)
        if column in TEXT:
            row[column] = check_name(column, text)
        elif text == "":
            row[column] = None
        else:
            try:
                row[column] = int(text) if column in WHOLE else float(text)
            except ValueError:
                raise ValueError(f"expected a number for {column}, found {text!r}") from None
    if lacking := [name for name in WHOLE if row[name] is None]:
        raise ValueError(f"expected a value of {lacking[0]}, found none")
    if row["run"] != (name := cell_of(row).run_name(row["seed"])):
        raise ValueError(f"expected the run {name} of these settings, found {row['run']}")
    return row


def add_rows(path: Path, folders: Iterable[Path]) -> int:
    """Adds the runs of these folders that are done and not in the table; returns their number.

    The table is replaced as a whole, while other processes that add to it wait.

    Args:
        path: Table.
        folders: Folders of runs; those that are not done are passed over.
    """
    done = [folder / runs.METRICS for folder in folders if (folder / runs.METRICS).exists()]
    if not done:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = wait(path.with_name(f".{path.name}.lock"), lambda: False)
    try:
        rows = read_table(path)
        known, added = {row["run"] for row in rows}, 0
        for file in done:
            with leaving_out(file):
                row = read_json(file)
                missing = [name for name in ALWAYS if name not in row]
                if missing:
                    raise KeyError(missing[0])
                if row["run"] not in known:
                    rows.append(row)
                    added += 1
        if added:
            write_table(rows, path.parent, path.name)
        return added
    finally:
        if lock is not None:
            lock.release(remove=True)
