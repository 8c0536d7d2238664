"""Resampled digits: real digits drawn with replacement so that one factor has a chosen law."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.checks import check_all, check_draws, check_flag, check_seed
from pyro_mivae.datasets.cache import cached, fingerprint
from pyro_mivae.datasets.digits import Digits, Split
from pyro_mivae.datasets.factored import (
    FactorData,
    FactorSplit,
    make_split,
    streams,
)
from pyro_mivae.datasets.laws import Law
from pyro_mivae.extras import extra

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["effective_size", "measured", "resampled_digits", "resampling_weights"]

_GRID = 1024  # points at which a density is computed; between them it is interpolated

Array = NDArray[np.float64]


def resampled_digits(
    digits: Digits,
    *,
    law: Law,
    factor: str = "thickness",
    num_train: int = 60_000,
    num_test: int = 10_000,
    share: tuple[float, float] = (1.0, 1.0),
    permuted: bool = False,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    name: str = "resampled",
) -> FactorData:
    """Draws digits so that a measured factor follows a law, for each digit the same.

    Each split is resampled by itself, so that no test image is a training image. The number of
    images of each digit stays what it was, up to chance.

    Args:
        digits: Digits to draw from.
        law: Law of the factor within each digit; it can't be followed beyond the range of the
            digits' own values.
        factor: Name of a factor that :func:`~pyro_mivae.morphometry.measure` measures.
        num_train: Number of draws from the training split.
        num_test: Number of draws from the test split.
        share: Random share of each digit's images, in the training and in the test split, to draw
            from. Two laws have different effective sizes, by which models trained on them would
            differ too; to make them equal, keep less for the one that has more (the
            ratio of the two :attr:`~pyro_mivae.datasets.FactorSplit.effective_size`).
        permuted: Whether to permute the weights among images of the same digit, as a control: the
            effective size is the same, and the factor keeps its own law.
        seed: Seed of all draws.
        cache_dir: Folder in which measurements are kept; by default ``~/.cache/pyro_mivae``.
        name: Name of the data set.

    Returns:
        The digits, with all their measured factors.

    Raises:
        ValueError: If `factor` or `share` is none of these, or no image of a digit is where the
            law has mass.
    """
    check_all(
        {"num_train": num_train, "num_test": num_test, "seed": seed},
        {"num_train": check_draws, "num_test": check_draws, "seed": check_seed},
    )
    check_flag("permuted", permuted)
    if not all(0.0 < part <= 1.0 for part in share):
        raise ValueError(f"share: expected two numbers in (0, 1], found {share}")

    def make(split: Split, number: int, part: str, kept: float) -> FactorSplit:
        thin, permute, choose = streams(
            seed, *(f"resampled/{part}/{n}" for n in ("thin", "permute", "choose"))
        )
        factors = measured(split, cache_dir=cache_dir)
        if factor not in factors:
            raise ValueError(
                f"factor: expected one of {', '.join(map(str, factors))}, found {factor!r}"
            )
        labels = split.labels.numpy()
        weights = resampling_weights(factors[factor].values, labels, law)
        for digit in np.unique(labels):
            rows = np.flatnonzero(labels == digit)
            if permuted:
                weights[rows] = weights[permute.permutation(rows)]
            weights[thin.permutation(rows)[round(kept * len(rows)) :]] = 0.0
        sources = choose.choice(len(split), size=number, p=weights / weights.sum())
        chosen = factors.isel(image=sources)
        size = effective_size(weights)
        return make_split(split.images[sources], split.labels[sources], chosen, sources, size)

    return FactorData(
        name,
        f"{digits.name} resampled by {factor}{', permuted' if permuted else ''}, seed {seed}. "
        f"{digits.source}",
        {} if permuted else {factor: law},
        train=make(digits.train.to("cpu"), num_train, "train", share[0]),
        test=make(digits.test.to("cpu"), num_test, "test", share[1]),
    )


def measured(split: Split, *, cache_dir: str | Path | None = None) -> xr.Dataset:
    """Measures a split by :func:`~pyro_mivae.morphometry.measure`, and keeps that in the cache.

    Args:
        split: Images to measure.
        cache_dir: Folder of the cache; by default ``~/.cache/pyro_mivae``.
    """
    import xarray as xr  # slow to import, and not every program measures

    from pyro_mivae import morphometry

    with extra("digits"):
        import skimage  # noqa: F401 -- before its version is read
    images = split.images.cpu().numpy()
    key = fingerprint(morphometry.VERSION, metadata.version("scikit-image"), images)

    def make() -> dict[str, NDArray[Any]]:
        factors = morphometry.measure(images, progress=True)
        return {name: factors[name].values for name in morphometry.UNITS}

    arrays = cached("measured", key, make, folder=cache_dir)
    variables = {n: ("image", arrays[n], {"units": u}) for n, u in morphometry.UNITS.items()}
    unmeasured = int(np.isnan(arrays["area"]).sum())
    return xr.Dataset(variables, attrs={"unmeasured": unmeasured, "version": morphometry.VERSION})


def resampling_weights(values: Array, labels: NDArray[Any], law: Law) -> Array:
    """Computes weights under which a factor follows a law within each digit.

    A weight is the law's density over the factor's density within the digit, which is estimated by
    Gaussian kernels (Scott's bandwidth). A digit's weights sum to its number of images.

    Args:
        values: Values of the factor, (N,); NaN gets the weight 0.
        labels: Digit of each image, (N,).
        law: Law that the factor is to follow.

    Returns:
        Weights, (N,).

    Raises:
        ValueError: If a digit has not two different values, or none where the law has mass, or
            the law's density is not finite at one.
    """
    from scipy import stats  # slow to import, and not every program resamples

    weights = np.zeros(len(values))
    for digit in np.unique(labels):
        rows = np.flatnonzero((labels == digit) & np.isfinite(values))
        inside = values[rows]
        if (different := len(np.unique(inside))) < 2:
            raise ValueError(
                f"digit {digit} has {len(inside)} finite values, {different} of them different: "
                "expected at least two, to estimate a density. Choose another factor or more "
                "images, or leave the digit out"
            )
        target = np.asarray(law.pdf(inside))
        if not np.isfinite(target).all():
            at = inside[~np.isfinite(target)][0]
            raise ValueError(
                f"law: expected a finite density at every value of digit {digit}, found "
                f"{law.pdf(at)} at {at:.4g}. Choose a law without a pole there"
            )
        if not target.any():
            raise ValueError(
                f"no image of digit {digit} is where {law} has mass: expected some of "
                f"{inside.min():.4g} to {inside.max():.4g}. Choose another law"
            )
        grid = np.linspace(inside.min(), inside.max(), _GRID)
        density = np.interp(inside, grid, stats.gaussian_kde(inside)(grid))
        weights[rows] = target / density
        weights[rows] *= np.count_nonzero(labels == digit) / weights[rows].sum()
    return weights


def effective_size(weights: Array) -> float:
    """Returns the number of equally weighted data that the weighted data amount to (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())
