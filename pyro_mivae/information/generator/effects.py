"""What drawing a code anew changes in the factors of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.disentanglement.inputs import Floats, plain


def total_effects(
    before: Mapping[str, Any],
    after: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
    *,
    label: str | None = None,
) -> tuple[Floats, Floats]:
    r"""Computes what drawing a code anew changes, in units of the data's variance.

    :math:`\tfrac12 \mathbb E[(f(c_i', c_{-i}) - f(c))^2] / \operatorname{Var}[f(x)]`, Sobol's total
    index with the variance of the data in the place of the generator's. For a label it is the
    share of images whose label changes, over that of two images of the data.

    Args:
        before: Factors of images by name, shape ``(M,)`` each.
        after: For each code the factors of the same images with this code drawn anew.
        data: Factors of real images by name, ``(N,)`` each.
        label: Name of the factor that is a label, if there is one.

    Returns:
        Effects and their standard errors, shape ``(codes, factors)`` each. Images that could not be
        measured before or after are left out; NaN where none is left, or the data do not vary.

    References:
        Saltelli et al. (2010), *Variance based sensitivity analysis of model output*, table 2,
        estimator f.
    """
    shape = (len(after), len(before))
    effects, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    for j, name in enumerate(before):
        first, real = (np.asarray(plain(d[name]), np.float64) for d in (before, data))
        real = real[np.isfinite(real)]
        if name == label:
            _, counts = np.unique(real, return_counts=True)
            unit = 1 - float(((counts / max(len(real), 1)) ** 2).sum())
        else:
            unit = float(real.var()) if len(real) else 0.0
        for i, moved in enumerate(after):
            second = np.asarray(plain(moved[name]), np.float64)
            square = (second != first) * 1.0 if name == label else (second - first) ** 2 / 2
            square = square[np.isfinite(first) & np.isfinite(second)]
            if len(square) > 1 and unit > 0:
                effects[i, j] = square.mean() / unit
                errors[i, j] = standard_error(square) / unit
    return effects, errors


def standard_error(terms: NDArray[np.float64]) -> float:
    """Computes the standard error of a mean of independent terms (N,)."""
    return float(terms.std(ddof=1) / np.sqrt(len(terms)))
