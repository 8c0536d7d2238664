"""The table of `experiments.infogan_study`: a row a run, added to as runs end, and read again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from experiments.infogan_study.design.cells import CELLS, MOST_SEEDS, Cell
from experiments.row_table import RowTable
from experiments.tables import Row

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


ROWS = RowTable(
    f"experiments.{NAME}", TEXT, WHOLE, ALWAYS, lambda row: cell_of(row).run_name(row["seed"])
)
"""The study's table."""
