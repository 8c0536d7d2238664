"""The manipulation checks of `experiments.open_question`, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.open_question.design.cells import EXPLORATORY, MI_WEIGHT, Cell
from experiments.open_question.rows import mean_of
from experiments.open_question.rules.h1 import ARMS, FAMILIES, failures
from experiments.open_question.rules.verdict import (
    FACTOR_KS,
    MI_BOUND,
    POSTERIOR_KS,
    SET_MEASURED,
)
from experiments.tables import Row, at, number, table


def checks_table(rows: Sequence[Row]) -> str:
    """Tabulates the worst run of each cell, and how many fail."""
    body = []
    keys = dict.fromkeys(
        (row["data"], row["arm"], row["mi_weight"], row["code_scale"]) for row in rows
    )
    for data, arm, weight, scale in keys:
        cell_runs = at(rows, data=data, arm=arm, code_scale=scale, mi_weight=weight)
        if data != "mnist":
            failed = [failures(row) for row in cell_runs]
            counts = arm in ARMS and scale is None and any(data in d for d in FAMILIES.values())
            counts = counts and weight == MI_WEIGHT
            aside = "no, exploratory" if Cell(arm, data, weight, scale) in EXPLORATORY else "no"
            form = "" if scale is None else ", InfoGAN's form"
            laws = [row["factor_ks"] for row in cell_runs if row["factor_ks"] is not None]
            sets = [row["set_measured"] for row in cell_runs if row["set_measured"] is not None]
            body.append(
                (
                    f"{arm} on {data}, {weight:g}{form}",
                    "yes" if counts else aside,
                    number(max(laws), 3) if laws else "-",
                    number(min(sets), 3) if sets else "-",
                    number(mean_of(cell_runs, "posterior_ks").mean, 3),
                    number(max(row["posterior_ks"] for row in cell_runs), 3),
                    _least_bound(cell_runs) if weight else "-",
                    f"{sum(map(bool, failed))} of {len(cell_runs)}",
                )
            )
    head = (
        "cell, λ",
        "for H1",
        f"KS of the factor (≤ {FACTOR_KS})",
        f"r set, measured (≥ {SET_MEASURED})",
        "KS of posterior, mean",
        f"worst (≤ {POSTERIOR_KS})",
        f"least MI bound, nats (≥ {MI_BOUND:g}; runs below)",
        "runs that fail",
    )
    text = "The worst run of each cell (the KS of the factor counts for resampled digits and "
    text += "sprites, the correlation for re-inked ones; "
    text += "the bound where the term is in the loss, of the category and c together)"
    return table(text, head, body)


def _least_bound(rows: Sequence[Row]) -> str:
    below = sum(row["mi"] < MI_BOUND for row in rows)
    least = f"{number(min(row['mi'] for row in rows))} ({below})"
    if any("mi/d" in row for row in rows):
        least += f"; of c alone {number(min(row['mi/c'] for row in rows))}"
    return least
