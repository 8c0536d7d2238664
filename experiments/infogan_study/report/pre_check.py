"""The pre-check of `experiments.infogan_study`: each cell once, the choice of the second law."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.infogan_study.design.cells import FIRST_LAW, PRE_CHECK_SEED
from experiments.infogan_study.design.datasets import FACTORS
from experiments.infogan_study.rows import cell_of, value
from experiments.infogan_study.rules.checks import failures
from experiments.tables import Row, number, table


def pre_check(rows: Sequence[Row]) -> list[str]:
    """Tabulates the runs of the pre-check, and how its GANs follow each candidate law."""
    runs = [row for row in rows if row["seed"] >= PRE_CHECK_SEED]
    if not runs:
        return []
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
        for row in runs
    ]
    head = ("run", "A", "Fréchet", "rarest", "bound c", "bound d", "explained", "s", "fails")
    return [table("Each cell once, seeds outside the study", head, body), _laws(runs)]


def _laws(rows: Sequence[Row]) -> str:
    """How far T and S of the GANs of law cells are from their law, and from the first data's."""
    body = []
    for row in rows:
        if row["training"] != "gan" or row["data"] == FIRST_LAW:
            continue
        line: list[object] = [cell_of(row).name]
        for factor in FACTORS:
            own, other = (value(row, f"law/{factor}/{name}") for name in (row["data"], FIRST_LAW))
            line += [number(own, 3), number(other, 3), "yes" if own < other else "no"]
        body.append(tuple(line))
    columns = ("own law", "law of D3", "follows")
    head = ("cell", *(f"{factor}: {column}" for factor in FACTORS for column in columns))
    return table(
        "Distance of standardised factors from laws, candidates for the second", head, body
    )
