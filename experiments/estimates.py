"""Estimates over seeds or dimensions, with intervals: means, rank correlations, the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from experiments.tables import Row, number


def standard_error(values: ArrayLike) -> float:
    """Computes the standard error of a mean; NaN with fewer than two values."""
    array = np.asarray(values, np.float64)
    return float(array.std(ddof=1)) / math.sqrt(array.size) if array.size > 1 else math.nan


def student_reach(values: ArrayLike, level: float = 0.95) -> float:
    """Computes half the width of Student's interval of a mean; NaN with fewer than two values.

    Args:
        values: Independent values, shape ``(number,)``.
        level: Probability with which the interval covers the mean.

    Raises:
        ValueError: If `level` does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), found {level}")
    degrees = np.size(values) - 1
    if degrees < 1:
        return math.nan
    return float(stats.t.ppf((1 + level) / 2, degrees)) * standard_error(values)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and Student's intervals."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean; NaN without a value."""
        return float(np.mean(self.values)) if self.values else math.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns Student's interval of the mean; NaN with fewer than two values."""
        reach = student_reach(self.values, level)
        return self.mean - reach, self.mean + reach


def is_number(value: Any) -> bool:
    """Checks whether a run has a value: JSON has null for NaN."""
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Computes Spearman's correlation along the last dimension; NaN if one is constant.

    For all samples of a bootstrap at once: ``scipy.stats.spearmanr`` takes one at a time.
    """
    first, second = (stats.rankdata(values, axis=-1) for values in (x, y))
    first = first - first.mean(-1, keepdims=True)
    second = second - second.mean(-1, keepdims=True)
    norms = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    products = (first * second).sum(-1)
    correlations: np.ndarray = np.full_like(norms, math.nan)
    np.divide(products, norms, out=correlations, where=norms > 0)
    return correlations


def bootstrap(
    rows: Sequence[Row], columns: Sequence[str], statistic: Callable[..., np.ndarray]
) -> Interval:
    """Estimates a statistic with its interval, from 2,000 resamplings of rows.

    Args:
        rows: Rows to resample; with fewer than three all numbers are NaN.
        columns: Columns that the statistic takes, each as an array ``(..., rows)``.
        statistic: Function of the columns, over their last dimension.
    """
    data = np.array([[row[column] for column in columns] for row in rows], float)
    if len(data) < 3:
        return Interval(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(data), size=len(data)) for _ in range(2000)]
    values = statistic(*data.T[:, np.array(drawn)])
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Interval(float(statistic(*data.T)), float(low), float(high))
