"""The verdicts on InfoGAN's properties, by rules that were fixed before any run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from experiments.contrasts import holm, sign_flip_test, weighted_contrast
from experiments.estimates import AdditiveModel, Mean, additive_model, is_number
from experiments.infogan_study.design.cells import SEEDS, Cell
from experiments.infogan_study.rows import replicates, values_by_cell
from experiments.infogan_study.rules.checks import failed_cells, failures, law_failures
from experiments.infogan_study.rules.properties import (
    CONFIRMATORY,
    GUESS,
    CellContrast,
    guess,
)
from experiments.tables import Row

EXTENDS = False
"""Whether an extension to 24 seeds is intended, if anything is undecided: said before the block."""
LEVEL = 0.05
FIRST_LOOK, SECOND_LOOK = 0.01, 0.04
"""Levels of the two looks if an extension is intended."""

Outcome: TypeAlias = Literal["matters", "matters less than the margin", "undecided"]


def level(num_seeds: int, *, extends: bool = EXTENDS) -> float:
    """Returns the level of a look at so many seeds."""
    if not extends:
        return LEVEL
    return FIRST_LOOK if num_seeds <= SEEDS else SECOND_LOOK


def judge(mean: Mean, adjusted: float, margin: float, alpha: float = LEVEL) -> Outcome:
    """Judges a contrast; the first rule that holds counts.

    *Matters* if the adjusted p-value is below `alpha` and the 90 % interval does not lie inside the
    margin; *matters less than the margin* if the 90 % interval lies inside it; else *undecided*.

    Args:
        mean: The contrast over seeds, in nats.
        adjusted: P-value by Holm's method.
        margin: Nats below which a difference would not matter.
        alpha: Level of the look.

    Raises:
        ValueError: If there are fewer than two seeds, so that there is no interval.
    """
    if len(mean.values) < 2:
        raise ValueError(f"mean: expected at least two seeds, found {len(mean.values)}")
    low, high = mean.interval(0.90)
    inside = -margin < low and high < margin
    if adjusted < alpha and not inside:
        return "matters"
    return "matters less than the margin" if inside else "undecided"


@dataclass(frozen=True, eq=False)
class Result:
    """A judged contrast.

    Attributes:
        contrast: Its cells and weights.
        mean: Its values over seeds.
        flips: P-value of the sign flips within seeds.
        model: The same contrast in the linear model of cells and seeds.
        adjusted: Student's p-value by Holm's method, over the six.
        outcome: Outcome by the rule.
        void: What makes the verdict void: cells that failed a check.
    """

    contrast: CellContrast
    mean: Mean
    flips: float
    model: AdditiveModel
    adjusted: float
    outcome: Outcome
    void: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The verdict in words, with its direction."""
        words: str = self.outcome
        if self.outcome == "matters":
            words = "leads to alignment" if self.mean.mean > 0 else "works against alignment"
        return f"void ({words})" if self.void else words


def is_defined(table: Mapping[Cell, Mapping[int, float]], contrast: CellContrast) -> bool:
    """Tells whether each cell of a contrast has a run, and all runs have the measure."""
    cells = [table.get(cell, {}) for cell in contrast.weights]
    return all(map(bool, cells)) and all(
        map(is_number, itertools.chain(*(c.values() for c in cells)))
    )


def estimate(rows: Sequence[Row], contrast: CellContrast) -> Mean:
    """Computes a contrast over the whole replicates; without a value where it is not defined."""
    table = values_by_cell(replicates(rows), contrast.measure)
    if not is_defined(table, contrast):
        return Mean(())
    return weighted_contrast(table, contrast.weights)


def results(rows: Sequence[Row], *, without_failing: bool = False) -> list[Result]:
    """Judges the six contrasts over the whole replicates; none with fewer than two seeds.

    Args:
        rows: Rows of a table.
        without_failing: Whether to leave out the runs that fail a check. Each cell then has the
            mean of its passing runs, which fills in for those that fail.

    Returns:
        The results of the contrasts that are defined: each of their cells has a run, and the
        measure is a number in all of them.
    """
    chosen = replicates(rows)
    num_seeds = len({row["seed"] for row in chosen})
    if num_seeds < 2:
        return []
    kept = [row for row in chosen if not failures(row)] if without_failing else chosen
    judged: list[tuple[CellContrast, Mean, AdditiveModel]] = []
    for contrast in CONFIRMATORY:
        table = values_by_cell(kept, contrast.measure)
        if is_defined(table, contrast):
            mean = weighted_contrast(table, contrast.weights, fill=without_failing)
            judged.append((contrast, mean, additive_model(table, contrast.weights)))
    p_values = {contrast.name: mean.p_value for contrast, mean, _ in judged}
    adjusted = holm({contrast.name: p_values.get(contrast.name, 1.0) for contrast in CONFIRMATORY})
    voids = {} if without_failing else _voids(chosen)
    return [
        Result(
            contrast,
            mean,
            sign_flip_test(mean.values),
            model,
            adjusted[contrast.name],
            judge(mean, adjusted[contrast.name], contrast.margin, level(num_seeds)),
            voids.get(contrast.name, ()),
        )
        for contrast, mean, model in judged
    ]


def _voids(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """What makes each contrast void; the laws count for the poster's guess alone."""
    failed, laws = failed_cells(rows), law_failures(rows)
    voids = {}
    for contrast in CONFIRMATORY:
        reasons = [_reason(cell, failed) for cell in contrast.weights if cell in failed]
        if contrast.name == GUESS:
            reasons += [_reason(cell, laws) for cell in contrast.weights if cell in laws]
        voids[contrast.name] = tuple(reasons)
    return voids


def _reason(cell: Cell, reasons: dict[Cell, str]) -> str:
    return f"{cell.name}: {reasons[cell]}"


def judge_guess(result: Result, rows: Sequence[Row]) -> str:
    """Judges the poster's guess: confirmed, refuted (in this class of models) or undecided.

    *Confirmed* if its contrast matters with a positive sign, and is positive in GANs alone;
    *refuted* if it matters less than the margin, or works against; else *undecided*.

    Args:
        result: Result of the contrast.
        rows: Rows of a table.
    """
    positive = result.mean.mean > 0
    in_gans = estimate(rows, guess("gan")).mean
    if result.outcome == "matters" and positive and in_gans > 0:
        verdict = "confirmed"
    elif result.outcome == "matters less than the margin" or (
        result.outcome == "matters" and not positive
    ):
        verdict = "refuted (in this class of models)"
    else:
        verdict = "undecided"
    return f"void ({verdict})" if result.void else verdict
