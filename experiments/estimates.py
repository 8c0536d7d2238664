"""Estimates over seeds or dimensions, with intervals: means, rank correlations, the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

    @property
    def p_value(self) -> float:
        """The two-sided p-value of Student's test of a mean of 0; NaN with fewer than two."""
        error = standard_error(self.values)
        if error == 0:
            return float(self.mean == 0)
        return float(2 * stats.t.sf(abs(self.mean) / error, len(self.values) - 1))


@dataclass(frozen=True)
class AdditiveModel:
    """A contrast of cells in a linear model of cells and seeds.

    Attributes:
        value: Estimate of the contrast.
        standard_error: Its standard error, robust against unequal variances (HC3).
        degrees: Degrees of freedom of the rest.
    """

    value: float
    standard_error: float
    degrees: int

    @property
    def p_value(self) -> float:
        """The two-sided p-value of a contrast of 0, by Student's law."""
        if self.standard_error == 0:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.standard_error, self.degrees))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns the interval of the contrast."""
        reach = float(stats.t.ppf((1 + level) / 2, self.degrees)) * self.standard_error
        return self.value - reach, self.value + reach


def additive_model(
    table: Mapping[Any, Mapping[Any, float]], weights: Mapping[Any, float]
) -> AdditiveModel:
    """Estimates a contrast of cells in the model "cell plus seed plus noise".

    Cells may lack seeds: the model then compares them as if they had them all. It takes the noise
    of runs to be independent, which a seed that moves some of the cells together is not.

    Args:
        table: Values by cell and seed.
        weights: Weights of cells, which sum to 0; cells without a weight are left out.

    Returns:
        The estimate. Its standard error is NaN where one run alone decides a coefficient, or
        nothing is left to estimate the noise from.

    References:
        MacKinnon and White (1985), *Some heteroskedasticity-consistent covariance matrix
        estimators with improved finite sample properties*, for HC3.
    """
    cells = list(weights)
    runs = [(cell, seed) for cell in cells for seed in table[cell]]
    seeds = list(dict.fromkeys(seed for _, seed in runs))
    design = np.zeros((len(runs), len(cells) + len(seeds) - 1))
    for row, (cell, seed) in enumerate(runs):
        design[row, cells.index(cell)] = 1
        if place := seeds.index(seed):
            design[row, len(cells) + place - 1] = 1
    y = np.array([table[cell][seed] for cell, seed in runs], np.float64)
    contrast = np.zeros(design.shape[1])
    contrast[: len(cells)] = [weights[cell] for cell in cells]
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ y
    leverage = (design * inverse.T).sum(1)
    degrees = len(runs) - int(np.linalg.matrix_rank(design))
    error = math.nan
    if degrees > 0 and leverage.max() < 1 - 1e-9:
        scaled = (y - design @ coefficients) / (1 - leverage)
        error = float(np.linalg.norm((contrast @ inverse) * scaled))
    return AdditiveModel(float(contrast @ coefficients), error, degrees)


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
