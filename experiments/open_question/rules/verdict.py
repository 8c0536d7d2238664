"""The verdict on the poster's claim (H1) by rules that were fixed before any run.

H1: a code aligns with the factor whose law equals the code's prior. It predicts an interaction of
prior and law (:func:`experiments.contrasts.interaction`) of the information that the codes carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from experiments.contrasts import Contrast
from experiments.open_question.design.cells import MOST_SEEDS

Family: TypeAlias = Literal["re-inked", "resampled", "sprites"]
"""How the laws of the factors were set."""

MARGIN = 0.10
"""Nats: an interaction below it would not matter."""
FOLLOWING = 0.80
"""Share of the runs in which the uniform code must follow the uniform factor."""
FACTOR_KS = 0.03
"""Largest Kolmogorov-Smirnov distance of a factor to the law that it was given."""
SET_MEASURED = 0.95
"""Least correlation of the set and the measured factor of re-inked digits."""
POSTERIOR_KS = 0.05
"""Largest Kolmogorov-Smirnov distance of the aggregate posterior to the prior."""
MI_BOUND = 1.0
"""Nats: least bound on the information in arms that enforce it."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Whether the manipulation did what it was to do, the worst of a family's runs.

    Attributes:
        posterior_ks: Largest distance of the aggregate posterior to the prior.
        mi_bound: Least bound on the information in the arms that enforce it, nats; None if there
            are none, which has to be said: a check that is forgotten would be passed.
        factor_ks: Largest distance of the factor to its target law: resampled digits and sprites.
        set_measured: Least correlation of set and measured factor: re-inked digits.
    """

    posterior_ks: float
    mi_bound: float | None
    factor_ks: float | None = None
    set_measured: float | None = None

    def failures(self, family: Family) -> list[str]:
        """Lists what makes the runs of this family void; a NaN does.

        Raises:
            ValueError: If the check of the factor's law that belongs to the family is lacking.
        """
        by_family = {"re-inked": ("set_measured", self.set_measured)}
        name, law = by_family.get(family, ("factor_ks", self.factor_ks))
        if law is None:
            raise ValueError(f"checks[{family!r}]: expected a number for {name}, found None")
        reasons = []
        if name == "set_measured" and not law >= SET_MEASURED:
            reasons.append(
                f"correlation of set and measured factor {law:.3f}, below {SET_MEASURED}"
            )
        if name == "factor_ks" and not law <= FACTOR_KS:
            reasons.append(f"distance of the factor to its law {law:.3f}, above {FACTOR_KS}")
        if not self.posterior_ks <= POSTERIOR_KS:
            reasons.append(
                f"distance of aggregate posterior to prior {self.posterior_ks:.3f}, above "
                f"{POSTERIOR_KS}"
            )
        if self.mi_bound is not None and not self.mi_bound >= MI_BOUND:
            reasons.append(f"bound on the information {self.mi_bound:.3f} nats, below {MI_BOUND}")
        return [f"{family}: {reason}" for reason in reasons]


@dataclass(frozen=True)
class Verdict:
    """A verdict by the rules.

    Attributes:
        outcome: ``"confirmed"``, ``"refuted"`` (in this model class) or ``"undecided"``.
        reasons: Conditions for confirming and for refuting that do not hold.
        void: Manipulation checks that failed: the runs of that family count for nothing.
        more_seeds: Whether seeds are to be added on re-inked digits, once.
    """

    outcome: Literal["confirmed", "refuted", "undecided"]
    reasons: tuple[str, ...]
    void: tuple[str, ...]
    more_seeds: bool


def judge(
    contrasts: Mapping[Family, Contrast], *, following: float, checks: Mapping[Family, Checks]
) -> Verdict:
    """Judges H1.

    *Confirmed* if on re-inked digits, with their checks passed, the interaction's 95 % interval
    lies wholly above +0.10 nat and in at least 80 % of the runs the uniform code's top factor is
    the uniform one. *Refuted* if on re-inked digits, resampled digits and sprites the 90 % interval
    lies inside ±0.10 nat with all checks passed. Else *undecided*: add seeds once, to 80 on
    re-inked digits, and stop.

    Args:
        contrasts: Interactions of the information carried about the factor, nats, by family;
            that of re-inked digits at least.
        following: Share by :func:`~experiments.open_question.jobs.carried_factors.following`, of
            the runs on re-inked digits under both laws.
        checks: Manipulation checks of the same families.

    Raises:
        ValueError: If a family is unknown, re-inked digits are lacking, or the families of
            contrasts and checks differ.
    """
    families = get_args(Family)
    if unknown := [name for name in (*contrasts, *checks) if name not in families]:
        raise ValueError(f"contrasts, checks: expected some of {families}, found {unknown[0]!r}")
    if "re-inked" not in contrasts or contrasts.keys() != checks.keys():
        raise ValueError(
            "contrasts, checks: expected the same families, 're-inked' among them, found "
            f"{list(contrasts)} and {list(checks)}"
        )
    if not 0 <= following <= 1:
        raise ValueError(f"following: expected a share from 0 to 1, found {following}")
    failures = {name: tuple(checks[name].failures(name)) for name in contrasts}
    void = tuple(reason for each in failures.values() for reason in each)
    main = contrasts["re-inked"]
    against = list(failures["re-inked"])
    if not main.interval(0.95)[0] > MARGIN:
        against.append(f"95 % interval {_text(main, 0.95)}: not wholly above {MARGIN} nat")
    if not following >= FOLLOWING:
        share = f"{100 * FOLLOWING:.0f} %"
        against.append(f"the uniform code follows in {following:.0%} of the runs, below {share}")
    if not against:
        return Verdict("confirmed", (), void, False)
    left, within = list(void), f"±{MARGIN:.2f}"
    for name in families:
        if name not in contrasts:
            left.append(f"{name}: not measured")
            continue
        low, high = contrasts[name].interval(0.90)
        if not (low > -MARGIN and high < MARGIN):
            left.append(
                f"{name}: 90 % interval {_text(contrasts[name], 0.90)}: not inside {within}"
            )
    if not left:
        return Verdict("refuted", (), void, False)
    reasons = tuple(f"not confirmed: {r}" for r in against) + tuple(
        f"not refuted: {r}" for r in left
    )
    return Verdict("undecided", reasons, void, main.num_seeds < MOST_SEEDS)


def _text(contrast: Contrast, level: float) -> str:
    low, high = contrast.interval(level)
    return f"[{low:.3f}, {high:.3f}]"
