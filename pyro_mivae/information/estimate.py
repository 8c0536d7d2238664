"""Means with their standard errors."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor


def in_lines(*sentences: str | None) -> str:
    """Writes what a result says, each sentence from a new line on, at most 100 characters wide."""
    wrapped = [textwrap.fill(s, 98, break_on_hyphens=False) for s in sentences if s]
    return "\n".join(wrapped).replace("\n", "\n  ")


def mean_and_error(terms: Tensor) -> tuple[Tensor, Tensor]:
    """Averages terms over the first dimension, with standard errors: NaN for a single term."""
    mean, number = terms.mean(0), len(terms)
    return mean.cpu(), (((terms - mean) ** 2).sum(0) / (number - 1) / number).sqrt().cpu()


@dataclass(frozen=True, repr=False)
class Estimate:
    """A mean over independent terms, in nats.

    Attributes:
        mean: The estimate; infinite if a term is.
        standard_error: The standard deviation of the terms over the root of their number; NaN
            for a single term, infinite if a term is.
    """

    mean: float
    standard_error: float

    @classmethod
    def of(cls, terms: Tensor) -> Estimate:
        """Averages `terms` over all of their elements.

        Args:
            terms: Independent terms of any shape, in nats.
        """
        terms = terms.detach().double().flatten()
        mean = float(terms.mean())
        if len(terms) > 1 and math.isinf(mean):
            return cls(mean, math.inf)
        error = float(terms.std()) / math.sqrt(len(terms)) if len(terms) > 1 else math.nan
        return cls(mean, error)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Computes the normal interval of this level; NaN where the standard error is."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), found {level}")
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.standard_error
        return self.mean - reach, self.mean + reach

    def __repr__(self) -> str:
        return f"{self} nats"

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.standard_error:.3f}"
