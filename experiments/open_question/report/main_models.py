"""Tables of `experiments.open_question` on the main job's models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from experiments.estimates import Mean
from experiments.open_question.report.cell_tables import count_tops, mean_text
from experiments.open_question.rows import main_groups, mean_of
from experiments.tables import Row, at, number, table

STYLE = ("thickness", "slant", "width")
FACTORS = (*STYLE, "label")


def main_model_tables(rows: Sequence[Row]) -> list[str]:
    """Tabulates each factor's best code, two other estimates, and uniform less Gaussian."""
    return [_best_codes(rows), _two_other_estimates(rows), _uniform_less_gaussian(rows)]


def _best_codes(rows: Sequence[Row]) -> str:
    body: list[tuple[object, ...]] = []
    for name, chosen in main_groups(rows):
        best = [_over_codes(chosen, "mi", factor) for factor in FACTORS]
        ceiling = number(mean_of(chosen, "mig_ceiling").mean)
        mig = f"{number(mean_of(chosen, 'mig').mean)} of {ceiling}"
        others = (number(mean_of(chosen, column).mean) for column in ("modularity", "elbo", "mi"))
        tops = count_tops([row["leading_top"] for row in chosen])
        body.append((name, *best, mig, *others, tops, len(chosen)))
    head = (
        *("main model", *FACTORS, "MIG of ceiling", "modularity"),
        *("ELBO", "MI bound", "top factor of the leading code", "seeds"),
    )
    title = (
        "MNIST, models of the main job: the largest I(c_j; factor), nats, means over seeds (95 %)"
    )
    return table(title, head, body)


def _two_other_estimates(rows: Sequence[Row]) -> str:
    body = [
        (
            name,
            *(_over_codes(chosen, "within", factor) for factor in STYLE),
            *(_over_codes(chosen, "ksg", factor) for factor in FACTORS),
            len(chosen),
        )
        for name, chosen in main_groups(rows)
    ]
    head = (
        *("main model", *(f"{factor} inside digits" for factor in STYLE)),
        *(f"{factor}, KSG" for factor in FACTORS),
    )
    title = "The same by ranks inside each digit, and by distances between neighbours (KSG)"
    return table(title, (*head, "seeds"), body)


def _uniform_less_gaussian(rows: Sequence[Row]) -> str:
    body = []
    for term, pairs in _pairs(rows):
        if pairs:
            differences = (
                Mean(tuple(_largest(u, "mi", name) - _largest(g, "mi", name) for u, g in pairs))
                for name in FACTORS
            )
            body.append((term, *(mean_text(mean, 3) for mean in differences), len(pairs)))
    title = "The same, uniform prior less Gaussian, over shared seeds (95 %)"
    return table(title, ("main models", *FACTORS, "seeds"), body)


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[str, list[tuple[Row, Row]]]]:
    """Runs that differ in the prior alone, by their term."""
    for name, chosen in main_groups(rows):
        prior, _, term = name.partition(", ")
        if prior == "uniform":
            settings = {key: chosen[0][key] for key in ("data", "mi_weight", "channel")}
            others = {row["seed"]: row for row in at(rows, arm="main-gaussian", **settings)}
            yield term, [(row, others[row["seed"]]) for row in chosen if row["seed"] in others]


def _over_codes(rows: Sequence[Row], kind: str, factor: str) -> str:
    """The largest over the codes, its mean over runs."""
    return mean_text(Mean(tuple(_largest(row, kind, factor) for row in rows)))


def _largest(row: Row, kind: str, factor: str) -> float:
    names = [n for n in row if n.startswith(f"{kind}/c[") and n.endswith(f"/{factor}")]
    return max((float(row[name]) for name in names), default=math.nan)
