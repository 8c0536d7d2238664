"""The pre-check of `experiments.infogan_study`: each cell once, the choice of the second law."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.infogan_study.design.cells import (
    LAWS,
    MENDED_SEED,
    PRE_CHECK_SEED,
    law_cells,
)
from experiments.infogan_study.design.datasets import FACTORS
from experiments.infogan_study.design.datasets import LAWS as DATA
from experiments.infogan_study.rows import cell_of, value
from experiments.infogan_study.rules.checks import failures, follows
from experiments.tables import Row, number, table

_CANDIDATES = (*law_cells("D4"), *law_cells("D4-laplace"))


def pre_check(rows: Sequence[Row]) -> list[str]:
    """Tabulates the runs of the pre-check, and how its GANs follow each candidate law."""
    first = [row for row in rows if row["seed"] == PRE_CHECK_SEED]
    parts = [_runs("Each cell once, seeds outside the study", first)]
    mended = [row for row in rows if PRE_CHECK_SEED < row["seed"] <= MENDED_SEED]
    for weight in sorted({value(row, "category_weight") for row in mended}):
        again = [row for row in mended if value(row, "category_weight") == weight]
        parts.append(_runs(f"VAEs with a category, its term weighed by {weight:g}", again))
    return [part for part in (*parts, _laws(first)) if part]


def _runs(title: str, rows: Sequence[Row]) -> str:
    """Tabulates runs with what each fails."""
    body = [
        (
            row["run"],
            number(value(row, "alignment")),
            number(value(row, "frechet"), 0),
            f"{100 * value(row, 'rarest'):.1f} %",
            number(value(row, "bound/c")),
            number(value(row, "bound/d")),
            number(value(row, "explained")),
            number(value(row, "seconds/total"), 0),
            ", ".join(failures(row)) or "-",
        )
        for row in rows
    ]
    head = ("run", "A", "Fréchet", "rarest", "bound c", "bound d", "explained", "s", "fails")
    return table(title, head, body)


def _laws(rows: Sequence[Row]) -> str:
    """How far T and S of the images are from what they are in each data set, both standardised."""
    crossed = [row for row in rows if cell_of(row) in (*LAWS, *_CANDIDATES)]
    body = []
    for row in crossed:
        line: list[object] = [cell_of(row).name]
        for factor in FACTORS:
            line += [number(value(row, f"law/{factor}/{name}"), 3) for name in DATA]
            line.append("yes" if follows(row, factor) else "no")
        body.append(tuple(line))
    columns = (*DATA, "follows")
    head = ("cell", *(f"{factor}: {column}" for factor in FACTORS for column in columns))
    title = "Kolmogorov-Smirnov distance of standardised factors from those of each data set"
    return table(title, head, body)
