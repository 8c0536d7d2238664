"""How a factor is distributed, and how much of the images' variance it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from torch import Tensor

__all__ = ["LAWS", "QUANTILES", "FactorLaw", "Fit", "factor_law", "factor_table", "pixel_share"]

LAWS = ("uniform", "normal", "lognormal", "gamma")
"""Families that a factor's distribution is compared with."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Probabilities at which quantiles are given."""

_FEWEST = 10  # values, below which nothing is said of a distribution

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """The member of a family that was fitted.

    Attributes:
        law: Frozen distribution of SciPy's.
        distance: Kolmogorov-Smirnov distance of the values from it: the largest difference
            of the two distribution functions, from 0 to 1.
    """

    law: Any
    distance: float


@dataclass(frozen=True)
class FactorLaw:
    """The distribution of a factor.

    Attributes:
        count: Number of finite values, which all else is of.
        mean: Their mean.
        sd: Their standard deviation.
        skewness: Their third standardised moment; 0 for a symmetric law.
        quantiles: By probability, those of :data:`QUANTILES`.
        fits: By family, those of :data:`LAWS` whose support has room for the values.
    """

    count: int
    mean: float
    sd: float
    skewness: float
    quantiles: Mapping[float, float]
    fits: Mapping[str, Fit]

    @property
    def nearest(self) -> str:
        """The family with the smallest distance."""
        return min(self.fits, key=lambda name: self.fits[name].distance)


def factor_law(values: Tensor | ArrayLike) -> FactorLaw:
    """Describes a factor's distribution, and fits four families to it.

    Normal, lognormal and gamma are fitted by maximum likelihood (``scipy.stats``), the latter two
    with their origin at 0 and to positive values only. The uniform family's maximum likelihood is
    the range, which two outliers set; it is fitted by the smallest Kolmogorov-Smirnov distance
    instead, so that its distance is the least that *any* uniform law has. That favours it over the
    others.

    Args:
        values: Values of the factor (N,); those that are not finite are left out.

    Raises:
        ValueError: If there are fewer than 10 finite values, or all are the same.
    """
    x = np.sort(_array(values).astype(np.float64).ravel())
    x = x[np.isfinite(x)]
    if len(x) < _FEWEST or x[0] == x[-1]:
        raise ValueError(
            f"values: expected at least {_FEWEST} finite numbers that are not all the same, found "
            f"{len(x)} of {len(np.unique(x))} kinds"
        )
    laws = {"uniform": _nearest_uniform(x), "normal": stats.norm(*stats.norm.fit(x))}
    if x[0] > 0:
        laws["lognormal"] = stats.lognorm(*stats.lognorm.fit(x, floc=0))
        laws["gamma"] = stats.gamma(*stats.gamma.fit(x, floc=0))
    return FactorLaw(
        len(x),
        float(x.mean()),
        float(x.std()),
        float(stats.skew(x)),
        dict(zip(QUANTILES, np.quantile(x, QUANTILES).tolist(), strict=True)),
        {name: Fit(law, _distance(x, law.cdf(x))) for name, law in laws.items()},
    )


def factor_table(factors: xr.Dataset, labels: Tensor | NDArray[Any]) -> list[dict[str, Any]]:
    """Describes each factor, over all images and within each label.

    Args:
        factors: Variables of dimension ``image``, with ``units``.
        labels: Labels (N,).

    Returns:
        A row for each factor and label, ``"all"`` among them: ``factor``, ``units``, ``label``,
        ``count``, ``mean``, ``sd``, ``skewness``, the quantiles ``q01`` and so on, ``nearest``, and
        for each family its distance ``ks_<family>`` and parameters ``<family>_<name>``: ends of the
        uniform law, mean and sd of the normal and of the logarithm's normal law, shape and scale of
        the gamma law. What a family does not have for a factor is NaN.
    """
    groups: dict[str, NDArray[np.bool_]] = {"all": np.ones(len(labels), bool)}
    digits = np.asarray(labels)
    groups |= {str(label): digits == label for label in np.unique(digits)}
    return [
        {"factor": str(name), "units": variable.attrs.get("units", ""), "label": label}
        | _row(factor_law(variable.values[rows]))
        for name, variable in factors.data_vars.items()
        for label, rows in groups.items()
    ]


def _row(law: FactorLaw) -> dict[str, Any]:
    row: dict[str, Any] = {"count": law.count, "mean": law.mean, "sd": law.sd}
    row["skewness"] = law.skewness
    row |= {f"q{100 * q:02.0f}": value for q, value in law.quantiles.items()}
    row["nearest"] = law.nearest
    row |= {
        f"ks_{name}": law.fits[name].distance if name in law.fits else math.nan for name in LAWS
    }
    names = {
        "uniform": ("low", "high"),
        "normal": ("mean", "sd"),
        "lognormal": ("mean", "sd"),
        "gamma": ("shape", "scale"),
    }
    for family, (first, second) in names.items():
        values = _parameters(family, law.fits[family].law) if family in law.fits else None
        row[f"{family}_{first}"], row[f"{family}_{second}"] = values or (math.nan, math.nan)
    return row


def _parameters(family: str, law: Any) -> tuple[float, float]:
    if family == "uniform":
        low, high = law.support()
        return float(low), float(high)
    if family == "normal":
        return float(law.mean()), float(law.std())
    shape, _, scale = (float(value) for value in law.args)
    return (math.log(scale), shape) if family == "lognormal" else (shape, scale)


def _distance(x: Array, cdf: Array) -> float:
    """The Kolmogorov-Smirnov distance of sorted values from a law's distribution function."""
    steps = np.arange(len(x) + 1) / len(x)
    return float(max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))


def _nearest_uniform(x: Array) -> Any:
    half = math.sqrt(3.0) * x.std()

    def distance(ends: Array) -> float:
        low, high = ends
        return _distance(x, np.clip((x - low) / (high - low), 0, 1)) if low < high else 1.0

    starts = ([x.mean() - half, x.mean() + half], [x[0], x[-1]], np.quantile(x, [0.05, 0.95]))
    options = {"xatol": 1e-6 * half, "fatol": 1e-7, "maxiter": 500}
    best = min(
        (optimize.minimize(distance, s, method="Nelder-Mead", options=options) for s in starts),
        key=lambda result: float(result.fun),
    )
    low, high = best.x
    return stats.uniform(low, high - low)


def pixel_share(
    images: Tensor | NDArray[Any],
    values: Tensor | ArrayLike,
    labels: Tensor | NDArray[Any],
    *,
    bins: int = 20,
) -> float:
    """Computes the share of the pixels' variance within a label that a factor explains.

    Between bins of equally many values lies the part of each pixel's sum of squares that a function
    of the factor explains. Summed over pixels and labels and divided by the whole sum, it is a
    correlation ratio (Pearson 1905), here with the adjustment that makes it 0 for an unrelated
    factor (Kelley 1935). Equal values share a bin, that of their mean rank, and bins that stay
    empty do not count: the order of the images has no effect.

    Args:
        images: Images (N, H, W), of any scale.
        values: Values of the factor (N,); images where it is not finite are left out.
        labels: Labels (N,).
        bins: Number of bins of equally many values, within each label.

    Returns:
        1 where the factor and the label determine the image, 0 where they explain nothing (and, by
        chance, a little below 0).

    Raises:
        ValueError: If the lengths differ, a label has fewer than two values for each bin, a pixel
            is not finite, or all images are the same.
    """
    pixels, factor, groups = (_array(each) for each in (images, values, labels))
    if not factor.shape == groups.shape == pixels.shape[:1]:
        raise ValueError(
            f"expected a value and a label of each image, found images {pixels.shape}, values "
            f"{factor.shape} and labels {groups.shape}"
        )
    factor = factor.astype(np.float64)
    within = total = 0.0
    for label in np.unique(groups):
        rows = np.flatnonzero((groups == label) & np.isfinite(factor))
        if len(rows) < 2 * bins:
            raise ValueError(
                f"label {label} has {len(rows)} finite values: expected at least {2 * bins}, two "
                f"for each of {bins} bins. Choose fewer bins, or more images"
            )
        rows = rows[np.argsort(factor[rows], kind="stable")]
        x = pixels[rows].reshape(len(rows), -1).astype(np.float64)
        if not np.isfinite(x).all():
            row = rows[~np.isfinite(x).all(1)][0]
            raise ValueError(
                f"images: expected finite pixels, found others in image {row}. Leave such images "
                "out by a value of NaN"
            )
        x -= x.mean(0)
        squares = float((x**2).sum())
        ends = np.cumsum([len(part) for part in np.array_split(rows, bins)])
        cells = np.searchsorted(ends, stats.rankdata(factor[rows]) - 0.5, side="right")
        parts = np.split(x, np.flatnonzero(np.diff(cells)) + 1)
        between = sum(len(part) * float((part.mean(0) ** 2).sum()) for part in parts)
        total += squares
        within += (squares - between) * (len(x) - 1) / (len(x) - len(parts))
    if total == 0.0:
        raise ValueError("images: expected some that differ within a label, found none")
    return 1.0 - within / total


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
