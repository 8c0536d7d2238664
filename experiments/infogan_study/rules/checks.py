"""The checks of the study: whether a run did what its cell is about. All bounds are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.infogan_study.design.cells import (
    FIRST_LAW,
    LAWS,
    SECOND_LAW,
    Cell,
    DataName,
    Training,
)
from experiments.infogan_study.design.datasets import FACTORS
from experiments.infogan_study.rows import cell_of, value
from experiments.tables import Row, number

PASSING = (11, 12)
"""Least share of the runs of a cell that pass all checks, for the cell to pass."""
FOLLOWING = (9, 12)
"""Least share of the runs of a law cell in which a factor is nearer to the law of its own data."""


@dataclass(frozen=True)
class Check:
    """A bound on a column of the table."""

    name: str
    column: str
    bounds: Mapping[Training, float]
    """Bounds by training; a training without one is not checked."""
    at_most: bool = False
    """Whether the bound is from above."""
    applies: Callable[[Cell], bool] = lambda cell: True
    """Tells the cells that are checked."""

    def bound(self, cell: Cell) -> float | None:
        """Returns the bound of a cell; None if it is not checked."""
        return self.bounds.get(cell.training) if self.applies(cell) else None

    def holds(self, row: Row) -> bool:
        """Tells whether a run passes; one without the number does not."""
        bound, measured = self.bound(cell_of(row)), value(row, self.column)
        if bound is None:
            return True
        return measured <= bound if self.at_most else measured >= bound

    def text(self, training: Training) -> str:
        """Writes the bound."""
        if training not in self.bounds:
            return "-"
        return f"{'at most' if self.at_most else 'at least'} {self.bounds[training]:g}"


def _both(bound: float) -> dict[Training, float]:
    return {"gan": bound, "vae": bound}


CHECKS: tuple[Check, ...] = (
    Check("images that cannot be measured", "unmeasured", _both(0.01), at_most=True),
    Check("Fréchet distance", "frechet", {"gan": 80.0, "vae": 130.0}, at_most=True),
    Check("rarest digit", "rarest", _both(0.01)),
    Check(
        "category: bound, nats", "bound/d", {"gan": 2.0, "vae": 1.0}, applies=lambda c: c.category
    ),
    Check(
        "InfoGAN's form: share of the codes' variance that Q explains",
        "explained",
        {"gan": 0.5},
        applies=lambda c: c.term == "infogan",
    ),
    Check(
        "learnt scale: bound on the codes, nats",
        "bound/c",
        _both(1.0),
        applies=lambda c: c.term == "learnt",
    ),
    *(
        Check(f"{factor}: correlation, set and measured", f"set_measured/{factor}", _both(0.95))
        for factor in FACTORS
    ),
)
"""The checks of every run."""


def failures(row: Row) -> list[str]:
    """Lists the checks that a run fails, with its numbers."""
    return [
        f"{check.name} {number(value(row, check.column))}"
        for check in CHECKS
        if not check.holds(row)
    ]


def follows(row: Row, factor: str) -> bool:
    """Tells whether a factor of the generated images is nearer to the law of its own data.

    Both are standardised; the law of data is that of what is measured of their test images. The
    other law is that of the data set that the run's is crossed with.
    """
    own: DataName = row["data"]
    other = FIRST_LAW if own != FIRST_LAW else SECOND_LAW
    return value(row, f"law/{factor}/{own}") < value(row, f"law/{factor}/{other}")


def failed_cells(rows: Sequence[Row]) -> dict[Cell, str]:
    """Finds the cells too many of whose runs fail a check, with what fails."""
    failed = {}
    for cell, own in by_cell(rows).items():
        passed = sum(not failures(row) for row in own)
        if not _enough(passed, len(own), PASSING):
            names = dict.fromkeys(check.name for check in CHECKS for r in own if not check.holds(r))
            reasons = ", ".join(name.partition(":")[0] for name in names)
            failed[cell] = f"{len(own) - passed} of {len(own)} runs fail ({reasons})"
    return failed


def law_failures(rows: Sequence[Row]) -> dict[Cell, str]:
    """Finds the cells of the poster's guess whose images do not follow the law of their data."""
    failed = {}
    for cell, own in by_cell(rows).items():
        counts = {factor: sum(follows(row, factor) for row in own) for factor in FACTORS}
        if cell in LAWS:
            wrong = [
                f"{factor} follows its law in {count} of {len(own)} runs"
                for factor, count in counts.items()
                if not _enough(count, len(own), FOLLOWING)
            ]
            if wrong:
                failed[cell] = ", ".join(wrong)
    return failed


def by_cell(rows: Sequence[Row]) -> dict[Cell, list[Row]]:
    """Sorts rows by cell."""
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault(cell_of(row), []).append(row)
    return cells


def _enough(passed: int, runs: int, share: tuple[int, int]) -> bool:
    """Whether the share of passing runs is at least a fraction, in whole numbers."""
    return passed * share[1] >= share[0] * runs
