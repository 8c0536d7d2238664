"""Interactions of `experiments.open_question` in seeds that were added to those of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.open_question.design.arms import ArmName
from experiments.open_question.design.cells import (
    MI_WEIGHT,
    PERMUTED,
    REINKED,
    SPRITES,
    Block,
    Cell,
)
from experiments.open_question.design.datasets import DataName
from experiments.open_question.report.cell_tables import p_value
from experiments.open_question.rows import PRIMARIES, ContrastResult, contrast, planned_seeds
from experiments.tables import Row, number, span, table


@dataclass(frozen=True)
class RepeatedInteraction:
    """An interaction that was looked at again."""

    on: str
    data: tuple[DataName, DataName]
    arms: tuple[ArmName, ArmName] = ("T", "G")
    mi_weight: float = MI_WEIGHT
    measures: tuple[str, ...] = (*PRIMARIES, "I_S")

    @property
    def name(self) -> tuple[str, str]:
        """Where, and of which arms."""
        return f"{self.on}, λ {self.mi_weight:g}", f"{self.arms[0]} against {self.arms[1]}"

    @property
    def cells(self) -> list[Cell]:
        """The four of them."""
        return [Cell(arm, data, self.mi_weight) for arm in self.arms for data in self.data]


INTERACTIONS = (
    RepeatedInteraction("re-inked", REINKED),
    RepeatedInteraction("re-inked", REINKED, ("P", "G")),
    RepeatedInteraction("re-inked", REINKED, ("T", "P")),
    RepeatedInteraction("re-inked", REINKED, mi_weight=0.0),
    RepeatedInteraction("sprites", SPRITES),
    RepeatedInteraction("sprites", SPRITES, ("P", "G")),
    RepeatedInteraction("sprites", SPRITES, ("T", "P")),
    RepeatedInteraction("permuted weights", PERMUTED, measures=tuple(PRIMARIES)),
)
LABELS = {**PRIMARIES, "I_S": "I_S (nats)"}
GROUPS = ("planned seeds", "added seeds", "all")


def interactions(
    every: Sequence[Block], rows: Sequence[Row]
) -> Iterator[tuple[RepeatedInteraction, str, list[ContrastResult]]]:
    """Yields each interaction over the planned seeds, the added ones and all, if any were added."""
    for repeated in INTERACTIONS:
        first = min(planned_seeds(every, cell, "plan") for cell in repeated.cells)
        parts = (
            [row for row in rows if row["seed"] < first],
            [row for row in rows if row["seed"] >= first],
            rows,
        )
        for measure in repeated.measures if first else ():
            results = [
                contrast(
                    part,
                    measure,
                    arms=repeated.arms,
                    data=repeated.data,
                    mi_weight=repeated.mi_weight,
                )
                for part in parts
            ]
            if results[1].contrast or results[1].note:
                yield repeated, measure, results


def fresh_seeds(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """Writes the table of the interactions."""
    body = [
        (*repeated.name, measure, *map(_contrast_text, results))
        for repeated, measure, results in interactions(every, rows)
    ]
    head = ("data", "arms", "of", *GROUPS)
    title = "Interactions in the planned seeds and in those that were added: mean (95 %; p of sign "
    return table(f"{title}flips; seeds)", head, body)


def _contrast_text(result: ContrastResult) -> str:
    if (one := result.contrast) is None:
        return result.note
    within = f"{span(one.interval(0.95))}; {p_value(one.permutation_p)}; {one.num_seeds}"
    return f"{number(one.mean, 3)} ({within})"


def drawn(every: Sequence[Block], rows: Sequence[Row]) -> list[Row]:
    """Lists the interactions as :func:`experiments.plots.forest.forest_plot` takes them."""
    estimates: list[Row] = []
    for repeated, measure, results in interactions(every, rows):
        for group, one in zip(GROUPS, (part.contrast for part in results), strict=True):
            if one is not None:
                low, high = one.interval(0.95)
                place = {"panel": LABELS[measure], "line": "\n".join(repeated.name), "group": group}
                estimates.append({**place, "value": one.mean, "low": low, "high": high})
    return estimates
