"""The checks of `experiments.infogan_study`, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from experiments.infogan_study.design.cells import LAWS, Training
from experiments.infogan_study.design.datasets import FACTORS
from experiments.infogan_study.rows import cell_of, replicates, value
from experiments.infogan_study.rules.checks import (
    CHECKS,
    by_cell,
    failed_cells,
    follows,
    law_failures,
)
from experiments.tables import Row, at, number, table


def check_tables(rows: Sequence[Row]) -> list[str]:
    """Tabulates the worst run of each check, the cells that fail, and the laws."""
    chosen = replicates(rows)
    return [checks_table(chosen), _failed(chosen), laws_table(chosen)]


def checks_table(rows: Sequence[Row]) -> str:
    """Tabulates bound, worst run and number of failing runs of each check, by training."""
    body: list[tuple[object, ...]] = []
    for check in CHECKS:
        line: list[object] = [check.name]
        for training in get_args(Training):
            checked = [
                r for r in at(rows, training=training) if check.bound(cell_of(r)) is not None
            ]
            values = [value(row, check.column) for row in checked]
            worst = (max if check.at_most else min)(values, default=None)
            failing = sum(not check.holds(row) for row in checked)
            line += [check.text(training), number(worst, 3), f"{failing} of {len(checked)}"]
        body.append(tuple(line))
    columns = ("bound", "worst", "runs that fail")
    head = ("check", *(f"{t.upper()}: {c}" for t in get_args(Training) for c in columns))
    return table("Checks of the whole replicates", head, body) if rows else ""


def laws_table(rows: Sequence[Row]) -> str:
    """Tabulates the runs in which a factor is nearer to the law of its own data."""
    body = [
        (
            cell.name,
            *(f"{sum(follows(row, factor) for row in own)} of {len(own)}" for factor in FACTORS),
        )
        for cell, own in by_cell(rows).items()
        if cell in LAWS
    ]
    title = "Runs whose standardised factor is nearer to the law of its own data than to the other"
    return table(title, ("cell", *FACTORS), body)


def _failed(rows: Sequence[Row]) -> str:
    reasons = [*failed_cells(rows).items(), *law_failures(rows).items()]
    title = "Cells that fail, which makes the verdicts of their contrasts void"
    return table(title, ("cell", "why"), [(cell.name, why) for cell, why in reasons])
