"""Continuous values in bins: of equal counts by default, of equal width on request."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy.stats import rankdata

from pyro_mivae.disentanglement.inputs import (
    Factors,
    Floats,
    Ints,
    as_array,
    group_numbers,
)

Binning: TypeAlias = Literal["rank", "width"]


def bin_columns(
    values: Any, *, bins: int = 20, binning: Binning = "rank", within: Any = None
) -> Ints:
    r"""Puts each column of numbers into bins.

    Equal-count bins are the default because the information in them doesn't change under an
    increasing map of a column, as that of the unbinned columns doesn't. With bins of equal width
    the same two codes of two uniform factors score a MIG of .58, .53 and .44 as their marginals are
    made uniform, Gaussian and Laplace (.58 for all three by ranks), and one outlier in 10,000
    points takes that to .20, .22 and .11.

    Tied values have their mean rank :math:`r` and share a bin, :math:`\lfloor B (r - 1/2) / N
    \rfloor`. Levels with at least a share of 1/B each all keep a bin of their own.

    Args:
        values: Shape ``(N, columns)``, N at least 2 B: with one point in a bin every two columns
            would seem to share all that there is.
        bins: Number B of bins.
        binning: ``"rank"`` for bins of equal counts, ``"width"`` for bins of equal width between
            the smallest and the largest value.
        within: Group of each point, shape ``(N,)``: ranks (or widths) are then taken inside each
            group.

    Returns:
        Bins from 0 to B - 1, of the same shape.

    Raises:
        ValueError: If `bins` is below 2 or too large for N, `binning` unknown, or the numbers are
            not finite.
    """
    if bins < 2:
        raise ValueError(f"bins: expected at least 2, found {bins}")
    if binning not in get_args(Binning):
        raise ValueError(f"binning: expected one of {get_args(Binning)}, found {binning!r}")
    array = as_array(values, "values", 2)
    if len(array) < 2 * bins:
        raise ValueError(
            f"bins: expected at least {2 * bins} points for {bins} bins, found {len(array)}: use "
            "fewer bins, or more points"
        )
    if within is None:
        return _binned(array, bins, binning)
    groups = group_numbers(within, len(array))
    binned = np.empty(array.shape, np.int64)
    for group in range(groups.max() + 1):
        rows = groups == group
        binned[rows] = _binned(array[rows], bins, binning)
    return binned


def bin_factors(
    factors: Factors, *, bins: int = 20, binning: Binning = "rank", within: Ints | None = None
) -> Ints:
    """Puts ordered factors into bins, as :func:`bin_columns`; labels stay as they are."""
    binned = bin_columns(factors.values, bins=bins, binning=binning, within=within)
    labels = np.array(factors.nominal)
    binned[:, labels] = factors.values[:, labels].astype(np.int64)
    return binned


def _binned(values: Floats, bins: int, binning: Binning) -> Ints:
    if binning == "rank":
        twice = np.rint(2 * rankdata(values, axis=0)).astype(np.int64) - 1
        ranked: Ints = twice * bins // (2 * len(values))
        return ranked
    low = values.min(0)
    width = values.max(0) - low
    share = (values - low) / np.where(width > 0, width, 1.0)
    wide: Ints = np.minimum((share * bins).astype(np.int64), bins - 1)
    return wide
