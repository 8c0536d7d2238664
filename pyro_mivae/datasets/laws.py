"""Laws of factors: small frozen objects with the methods of SciPy's frozen distributions.

A law is one of these, or a distribution of SciPy such as ``scipy.stats.beta(2, 5)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Laplace", "Law", "Normal", "Uniform", "draw"]

Array = NDArray[np.float64]


class Law(Protocol):
    """The distribution of a factor; SciPy's frozen continuous distributions are laws."""

    def ppf(self, q: Any, /) -> Any:
        """Returns the quantiles, the inverse of :meth:`cdf`."""

    def cdf(self, x: Any, /) -> Any:
        """Returns the cumulative distribution function."""

    def pdf(self, x: Any, /) -> Any:
        """Returns the density."""

    def mean(self) -> Any:
        """Returns the mean."""

    def std(self) -> Any:
        """Returns the standard deviation."""


@dataclass(frozen=True)
class Uniform:
    """The uniform law on an interval.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.

    Raises:
        ValueError: If the ends are not finite and in this order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"Uniform: expected finite low < high, found {self.low}, {self.high}")

    @classmethod
    def like(cls, law: Law) -> Uniform:
        """Makes the uniform law with another law's mean and standard deviation."""
        half = math.sqrt(3.0) * law.std()
        return cls(law.mean() - half, law.mean() + half)

    def ppf(self, q: ArrayLike, /) -> Array:
        """Returns the quantiles; NaN for a number that is no probability."""
        return self.low + (self.high - self.low) * _probabilities(q)

    def cdf(self, x: ArrayLike, /) -> Array:
        """Returns the cumulative distribution function."""
        return np.clip((np.asarray(x, np.float64) - self.low) / (self.high - self.low), 0.0, 1.0)

    def pdf(self, x: ArrayLike, /) -> Array:
        """Returns the density, 0 outside the interval."""
        x = np.asarray(x, np.float64)
        density = np.where((x >= self.low) & (x <= self.high), 1.0 / (self.high - self.low), 0.0)
        return np.where(np.isnan(x), np.nan, density)

    def mean(self) -> float:
        """Returns the middle of the interval."""
        return (self.low + self.high) / 2

    def std(self) -> float:
        """Returns the standard deviation, the interval's length over sqrt(12)."""
        return (self.high - self.low) / math.sqrt(12.0)


@dataclass(frozen=True)
class _Symmetric:
    """A law around its mean, perhaps cut off at the same distance on both sides."""

    loc: float
    scale: float
    reach: float = math.inf

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not (math.isfinite(self.loc) and 0.0 < self.scale < math.inf):
            raise ValueError(
                f"{name}: expected a finite loc and a positive scale, found {self.loc}, "
                f"{self.scale}"
            )
        if not self.scale < 0.99 * self.reach / math.sqrt(3.0):
            raise ValueError(
                f"{name}: scale {self.scale} is too large for reach {self.reach}: expected less "
                f"than 0.99 * reach / sqrt(3) = {0.99 * self.reach / math.sqrt(3.0):.4g}"
            )

    @classmethod
    def like(cls, law: Law, *, reach: float = math.inf) -> Self:
        """Makes the law with another law's mean and standard deviation."""
        return cls(float(law.mean()), float(law.std()), reach)

    @cached_property
    def _uncut(self) -> tuple[float, float]:
        """The parameter of the law before the cut, and its mass below the cut."""
        from scipy import optimize  # slow to import, and not every program draws

        if math.isinf(self.reach):
            return self._parameter(self.scale), 0.0

        def excess(parameter: float) -> float:
            return self._cut_variance(self.reach / parameter) * parameter**2 - self.scale**2

        # At 20 reaches the law is flat: its variance is reach**2 / 3 to four digits.
        low, high = self._parameter(self.scale / 2), 20 * self.reach
        parameter = float(optimize.brentq(excess, low, high, xtol=1e-14))
        return parameter, float(self._below(-self.reach / parameter))

    def ppf(self, q: ArrayLike, /) -> Array:
        """Returns the quantiles; NaN for a number that is no probability."""
        parameter, tail = self._uncut
        q = tail + (1.0 - 2.0 * tail) * _probabilities(q)
        quantile: Array = self.loc + parameter * self._quantile(q)
        return np.clip(quantile, self.loc - self.reach, self.loc + self.reach)

    def cdf(self, x: ArrayLike, /) -> Array:
        """Returns the cumulative distribution function."""
        parameter, tail = self._uncut
        below: Array = self._below((np.asarray(x, np.float64) - self.loc) / parameter)
        return np.clip((below - tail) / (1.0 - 2.0 * tail), 0.0, 1.0)

    def pdf(self, x: ArrayLike, /) -> Array:
        """Returns the density, 0 beyond the reach."""
        parameter, tail = self._uncut
        z = (np.asarray(x, np.float64) - self.loc) / parameter
        density = self._density(z) / (parameter * (1.0 - 2.0 * tail))
        return np.where(np.abs(z) * parameter > self.reach, 0.0, density)

    def mean(self) -> float:
        """Returns the mean."""
        return self.loc

    def std(self) -> float:
        """Returns the standard deviation after the cut."""
        return self.scale

    # Of the law with parameter 1 around 0.

    def _parameter(self, scale: float) -> float:
        """The parameter at which the uncut law has a standard deviation."""
        raise NotImplementedError

    def _cut_variance(self, reach: float) -> float:
        """The variance after a cut at a distance."""
        raise NotImplementedError

    def _quantile(self, q: Array) -> Array:
        raise NotImplementedError

    def _below(self, z: Any) -> Any:
        raise NotImplementedError

    def _density(self, z: Array) -> Array:
        raise NotImplementedError


class Normal(_Symmetric):
    """The normal law, or one that is cut off at the same distance on both sides of its mean.

    A factor mostly has a range that it can't leave (a stroke is not thinner than 0). `scale` is
    the standard deviation of what is left after the cut, so that laws can be compared by it.

    Args:
        loc: Mean.
        scale: Standard deviation.
        reach: Largest distance from the mean.

    Raises:
        ValueError: If `scale` is not positive, or too large for `reach`: the uniform law, with a
            standard deviation of ``reach / sqrt(3)``, is the widest there is.
    """

    def _parameter(self, scale: float) -> float:
        return scale

    def _cut_variance(self, reach: float) -> float:
        density = math.exp(-0.5 * reach**2) / math.sqrt(2.0 * math.pi)
        return 1.0 - 2.0 * reach * density / math.erf(reach / math.sqrt(2.0))

    def _quantile(self, q: Array) -> Array:
        from scipy import special

        return np.asarray(special.ndtri(q))

    def _below(self, z: Any) -> Any:
        from scipy import special

        return special.ndtr(z)

    def _density(self, z: Array) -> Array:
        return np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


class Laplace(_Symmetric):
    """The Laplace law, or one that is cut off at the same distance on both sides of its mean.

    Farther from the uniform law than the normal one, with the same mean and standard deviation.

    Args:
        loc: Mean.
        scale: Standard deviation of what is left after the cut (not the law's own parameter).
        reach: Largest distance from the mean.

    Raises:
        ValueError: If `scale` is not positive, or too large for `reach`, as in :class:`Normal`.
    """

    def _parameter(self, scale: float) -> float:
        return scale / math.sqrt(2.0)

    def _cut_variance(self, reach: float) -> float:
        left = math.exp(-reach)
        return (2.0 - left * (reach**2 + 2.0 * reach + 2.0)) / -math.expm1(-reach)

    def _quantile(self, q: Array) -> Array:
        with np.errstate(divide="ignore"):  # an uncut law has no finite ends
            lower, upper = np.log(2.0 * np.minimum(q, 0.5)), -np.log(2.0 - 2.0 * np.maximum(q, 0.5))
        return np.where(q < 0.5, lower, upper)

    def _below(self, z: Any) -> Any:
        half = 0.5 * np.exp(-np.abs(z))
        return np.where(np.asarray(z) < 0, half, 1.0 - half)

    def _density(self, z: Array) -> Array:
        return 0.5 * np.exp(-np.abs(z))


def _probabilities(q: ArrayLike) -> Array:
    q = np.asarray(q, np.float64)
    return np.where((q >= 0.0) & (q <= 1.0), q, np.nan)


def draw(law: Law, size: int, generator: np.random.Generator) -> Array:
    """Draws independent values by the inverse distribution function, float64 (size,)."""
    # Strictly inside (0, 1): 0 has no finite quantile under an uncut normal law.
    q = (generator.integers(2**53 - 1, size=size) + 1.0) / 2.0**53
    return np.asarray(law.ppf(q), np.float64)
