"""Interactions of `experiments.open_question` in seeds that were added to those of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments import _question_numbers as numbers
from experiments._arm_data import DataName
from experiments._arm_models import ArmName
from experiments._markdown import number, span, table
from experiments._question_numbers import Row
from experiments._question_plan import planned_seeds
from experiments._question_runs import (
    MI_WEIGHT,
    PERMUTED,
    REINKED,
    SPRITES,
    Block,
    Cell,
)
from experiments._question_tables import p_value


@dataclass(frozen=True)
class Again:
    """An interaction that was looked at again."""

    on: str
    data: tuple[DataName, DataName]
    arms: tuple[ArmName, ArmName] = ("T", "G")
    mi_weight: float = MI_WEIGHT
    measures: tuple[str, ...] = ("I_T", "share_T", "I_S")

    @property
    def cells(self) -> list[Cell]:
        """The four of them."""
        return [Cell(arm, data, self.mi_weight) for arm in self.arms for data in self.data]


AGAIN = (
    Again("re-inked", REINKED),
    Again("re-inked", REINKED, ("P", "G")),
    Again("re-inked", REINKED, ("T", "P")),
    Again("re-inked", REINKED, mi_weight=0.0),
    Again("sprites", SPRITES),
    Again("sprites", SPRITES, ("P", "G")),
    Again("sprites", SPRITES, ("T", "P")),
    Again("permuted weights", PERMUTED, measures=("I_T", "share_T")),
)


def fresh_seeds(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """Each interaction over the seeds that were planned, those that were added, and all."""
    body = []
    for again in AGAIN:
        first = min(planned_seeds(every, cell, "plan") for cell in again.cells)
        parts = (
            [row for row in rows if row["seed"] < first],
            [row for row in rows if row["seed"] >= first],
            rows,
        )
        for name in again.measures:
            found = [_interaction(part, name, again) for part in parts]
            if first and found[1]:
                where = f"{again.on}, λ {again.mi_weight:g}"
                body.append((where, f"{again.arms[0]} against {again.arms[1]}", name, *found))
    head = ("data", "arms", "of", "planned seeds", "added seeds", "all")
    title = "Interactions in the planned seeds and in those that were added: mean (95 %; p of sign "
    return table(f"{title}flips; seeds)", head, body)


def _interaction(rows: Sequence[Row], name: str, again: Again) -> str:
    settings = {"arms": again.arms, "data": again.data, "mi_weight": again.mi_weight}
    found = numbers.contrast(rows, name, **settings)
    if (one := found.contrast) is None:
        return found.note
    within = f"{span(one.interval(0.95))}; {p_value(one.permutation_p)}; {one.num_seeds}"
    return f"{number(one.mean, 3)} ({within})"
