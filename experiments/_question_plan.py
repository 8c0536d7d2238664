"""Which seeds of `experiments.open_question` its rules and tables are of."""

from __future__ import annotations

from collections.abc import Sequence

from experiments._question_numbers import Row, cell_of
from experiments._question_runs import ADDED, MOST_SEEDS, Adds, Block, Cell


def planned_seeds(every: Sequence[Block], cell: Cell, *kinds: Adds) -> int:
    """The most seeds that a block of these kinds has of a cell."""
    return max((b.seeds for b in every if cell in b.cells and b.adds in kinds), default=0)


def without_fresh(every: Sequence[Block], rows: Sequence[Row]) -> list[Row]:
    """The runs that were planned, or added because the rule of H1 asks."""
    most: dict[Cell, int] = {}
    for cell in (cell for block in every for cell in block.cells):
        most[cell] = MOST_SEEDS if cell in ADDED else planned_seeds(every, cell, "plan")
    return [
        row for row in rows if row["data"] == "mnist" or row["seed"] < most.get(cell_of(row), 0)
    ]
