"""The judgement of H1, the poster's claim, from the rows of `experiments.open_question`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from experiments.contrasts import Contrast, holm
from experiments.open_question.design.arms import ArmName
from experiments.open_question.design.cells import (
    MI_WEIGHT,
    MOST_SEEDS,
    REINKED,
    RESAMPLED,
    SPRITES,
    Block,
    Cell,
)
from experiments.open_question.design.datasets import (
    REAL,
    STROKES,
    DataName,
    FactorSet,
    factor_set_of,
)
from experiments.open_question.design.datasets import SPRITES as SPRITE_FACTORS
from experiments.open_question.jobs.carried_factors import following
from experiments.open_question.rows import PRIMARIES, ContrastResult, contrast, planned_seeds
from experiments.open_question.rules.verdict import (
    Checks,
    Family,
    Verdict,
    judge,
)
from experiments.tables import Row, at

FAMILIES: Mapping[Family, tuple[DataName, DataName]] = {
    "re-inked": REINKED,
    "resampled": RESAMPLED,
    "sprites": SPRITES,
}
FAMILY_OF: Mapping[FactorSet, Family] = {
    STROKES: "re-inked",
    REAL: "resampled",
    SPRITE_FACTORS: "sprites",
}
ARMS: tuple[ArmName, ArmName] = ("T", "G")


def family_rows(rows: Sequence[Row], family: Family, mi_weight: float = MI_WEIGHT) -> list[Row]:
    """Selects the runs that a family's contrast is made of."""
    return [
        row
        for row in at(rows, mi_weight=mi_weight, code_scale=None)
        if row["arm"] in ARMS and row["data"] in FAMILIES[family]
    ]


def planned(every: Sequence[Block], rows: Sequence[Row], family: Family) -> int:
    """Returns the number of seeds that each cell of a family is to have.

    Seeds beyond the plan are those that are added once, on re-inked digits: all of them have to be
    there, then.
    """
    cells = [Cell(arm, data) for arm in ARMS for data in FAMILIES[family]]
    most = max(planned_seeds(every, cell, "plan", "rule") for cell in cells)
    seeds_done = max((row["seed"] + 1 for row in family_rows(rows, family)), default=0)
    return most if seeds_done <= most else max(seeds_done, MOST_SEEDS)


def missing(every: Sequence[Block], rows: Sequence[Row], family: Family) -> int:
    """Counts the runs of a family that are not done."""
    seeds = planned(every, rows, family)
    return len(ARMS) * len(FAMILIES[family]) * seeds - len(family_rows(rows, family))


def checks_of(rows: Sequence[Row], family: Family) -> Checks:
    """Takes the worst of a family's runs; NaN, which fails, without a run."""

    def worst(name: str, extreme: object) -> float:
        values = [row[name] for row in rows]
        complete = values and all(value is not None for value in values)
        return float(extreme(values)) if complete else math.nan  # type: ignore[operator]

    ks = {"factor_ks": worst("factor_ks", max)} if family != "re-inked" else {}
    own = ks or {"set_measured": worst("set_measured", min)}
    return Checks(posterior_ks=worst("posterior_ks", max), mi_bound=worst("mi", min), **own)


def failures(row: Row) -> list[str]:
    """Lists the manipulation checks that a run fails.

    The law of its factor by the check of its data; the aggregate posterior; and, where the term
    is in the loss, the bound on the information.
    """
    family = FAMILY_OF[factor_set_of(row["data"])]
    checks = checks_of([row], family)
    if row["mi_weight"] == 0:
        checks = dataclasses.replace(checks, mi_bound=None)
    return [reason.partition(": ")[2] for reason in checks.failures(family)]


@dataclass(frozen=True)
class H1:
    """The findings on the poster's claim.

    Attributes:
        contrasts: Interactions by family and primary measure, at the weight of the hypotheses.
        adjusted: Holm's p-values of the two primaries on re-inked digits.
        following: Share of the runs of T on re-inked digits in which the leading code carries
            most about the uniform factor; NaN without a run.
        checks: Manipulation checks by family.
        missing: Numbers of runs that are not done, by family.
        verdict: Verdict; None while any run is missing.
        lost: Reason why there is no verdict though all is done: a measure was not defined.
    """

    contrasts: Mapping[tuple[Family, str], ContrastResult]
    adjusted: Mapping[str, float]
    following: float
    checks: Mapping[Family, Checks]
    missing: Mapping[Family, int]
    verdict: Verdict | None
    lost: str = field(default="")


def judge_h1(every: Sequence[Block], rows: Sequence[Row]) -> H1:
    """Judges H1 by :func:`~.verdict.judge`, when all runs of its families are done."""
    contrasts = {
        (family, name): contrast(rows, name, arms=ARMS, data=data)
        for family, data in FAMILIES.items()
        for name in PRIMARIES
    }
    p_values = {
        name: result.contrast.permutation_p
        for name in PRIMARIES
        if (result := contrasts["re-inked", name]).contrast is not None
    }
    adjusted = holm(p_values) if len(p_values) == len(PRIMARIES) else {}
    treated = at(family_rows(rows, "re-inked"), arm="T")
    share = (
        following([row["leading_top"] for row in treated], [_uniform(row) for row in treated])
        if treated
        else math.nan
    )
    checks = {family: checks_of(family_rows(rows, family), family) for family in FAMILIES}
    absent = {family: missing(every, rows, family) for family in FAMILIES}
    verdict, lost = None, ""
    if not any(absent.values()):
        results = {f: contrasts[f, "I_T"] for f in FAMILIES if planned(every, rows, f)}
        lost = "; ".join(result.note for result in results.values() if result.contrast is None)
        defined: dict[Family, Contrast] = {
            family: result.contrast for family, result in results.items() if result.contrast
        }
        if not lost and defined:
            verdict = judge(defined, following=share, checks={f: checks[f] for f in defined})
    return H1(contrasts, adjusted, share, checks, absent, verdict, lost)


def _uniform(row: Row) -> str:
    """The uniform factor of re-inked digits."""
    return "thickness" if row["data"] == REINKED[0] else "slant"
