"""Information between every code and every factor, in nats, corrected for the bias of counting."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.checks import MOST_DRAWS, check_count, check_number, check_seed, optional
from pyro_mivae.disentanglement.binning import Binning, bin_columns, bin_factors
from pyro_mivae.disentanglement.inputs import (
    Floats,
    Ints,
    as_pair,
    group_numbers,
)
from pyro_mivae.extras import extra

SHOWN = 5
"""Factors in the text of a result."""

_ELEMENTS = 2**21
"""Numbers that are counted at once: memory then does not grow with the codes."""


@dataclass(frozen=True, eq=False, repr=False)
class MIMatrix:
    """Information between codes and factors, nats.

    Attributes:
        values: Information without the bias, at least 0, shape ``(codes, factors)``.
        plug_in: Information from the counts as they are, the same shape.
        bias: Mean of `plug_in` when permutations break the dependence, the same shape.
        live: For each code, whether it carries more about some factor than 99 % of its
            permutations do, shape ``(codes,)``; True without the corrections.
        entropies: Entropies of the binned factors, shape ``(factors,)``.
        names: Names of the factors.
    """

    values: Floats
    plug_in: Floats
    bias: Floats
    live: NDArray[np.bool_]
    entropies: Floats
    names: tuple[str, ...]

    def __repr__(self) -> str:
        top = [
            f"{name} {column.max():.2f} (code {column.argmax()})"
            for name, column in zip(self.names, self.values.T, strict=True)
        ]
        shown = ", ".join(top[:SHOWN]) + (", ..." if top[SHOWN:] else "")
        return (
            f"Information of {len(self.live)} codes, {self.num_live} of them live, about "
            f"{len(self.names)} factors\n  most in nats: {shown}"
        )

    @property
    def num_live(self) -> int:
        """The number of live codes."""
        return int(self.live.sum())

    @property
    def live_values(self) -> Floats:
        """The rows of `values` that belong to live codes, shape ``(num_live, factors)``."""
        return self.values[self.live]


def mi_matrix(
    codes: Any,
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    within: Any = None,
    bins: int = 20,
    binning: Binning = "rank",
    num_permutations: int = 200,
    level: float = 0.99,
    seed: int = 0,
) -> MIMatrix:
    r"""Estimates I(code; factor) from counts in bins.

    The plug-in estimate of independent variables with B and L bins is :math:`(B-1)(L-1)/2N` too
    high on average: pure noise then scores a modularity of .994 when one factor has 3 levels and
    the other 32. The mean over permutations of the points is subtracted. A code is *live* if its
    largest corrected information exceeds the quantile `level` of the same number under permutation,
    so that a code of noise is taken for live once in a hundred. Ranks do not see how large a code's
    variation is: the means of a collapsed posterior, which differ in a late digit, are live. Their
    KL shows it. Draws of the posterior as codes, in place of its means, are all but noise.

    With `within`, ranks are taken and points permuted inside each group, for example inside each
    digit. This removes what a code and a factor share only because both depend on the digit. It
    also holds where bins depend on the group, as in small groups and in groups where a factor is
    constant, because a permutation inside groups keeps that dependence. In groups much larger than
    `bins` the result is at most the information given the group, and less where the relation of
    code and factor differs between groups.

    Args:
        codes: Shape ``(N, codes)``.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels; they are not binned.
        within: Groups to rank and to permute inside of, shape ``(N,)``.
        bins: Number of bins, at most N / 2; see :func:`~pyro_mivae.disentanglement.ceiling`.
        binning: Kind of the bins, see :func:`~pyro_mivae.disentanglement.bin_columns`.
        num_permutations: Number of permutations that estimate the bias; 0 for no corrections.
        level: Quantile of the permutations above which a code is live, between 0 and 1.
        seed: Seed of the permutations.

    Raises:
        ValueError: If there are too few permutations for `level`, too few points for `bins`, or
            arrays do not fit.

    References:
        Miller (1955), *Note on the bias of information estimates*; Chen et al. (2018), *Isolating
        sources of disentanglement in VAEs*, section 4.1, for the matrix.
    """
    check_count("num_permutations", num_permutations, least=0, most=MOST_DRAWS)
    check_seed("seed", seed)
    check_number("level", level, above=0, below=1)
    array, table = as_pair(codes, factors, nominal)
    groups = None if within is None else group_numbers(within, len(array))
    if num_permutations and num_permutations * (1 - level) < 1 - 1e-9:
        raise ValueError(
            f"num_permutations: expected 0 (no corrections) or at least {1 / (1 - level):.0f} for "
            f"the level {level}, found {num_permutations}"
        )
    code_bins = bin_columns(array, bins=bins, binning=binning, within=groups)
    factor_bins = bin_factors(table, bins=bins, binning=binning, within=groups)
    settings: dict[str, Any] = {"num_permutations": num_permutations, "level": level, "seed": seed}
    return from_bins(code_bins, factor_bins, table.names, groups=groups, **settings)


def from_bins(
    code_bins: Ints,
    factor_bins: Ints,
    names: tuple[str, ...],
    *,
    num_permutations: int,
    groups: Ints | None = None,
    level: float = 0.99,
    seed: int = 0,
) -> MIMatrix:
    """Makes the matrix of binned codes and factors, permuted inside the groups."""
    num_codes, num_factors = code_bins.shape[1], factor_bins.shape[1]
    plug_in, bias = (np.zeros((num_codes, num_factors)) for _ in range(2))
    live = np.ones(num_codes, np.bool_)
    step = max(1, _ELEMENTS // factor_bins.size)
    for start in range(0, num_codes, step):
        rows = slice(start, start + step)
        count = _Counts(code_bins[:, rows], factor_bins)
        plug_in[rows] = count.information(np.arange(len(code_bins)))
        if num_permutations:
            # Every block of codes has the same permutations.
            orders = _orders(len(code_bins), groups, num_permutations, seed)
            shuffled = np.stack([count.information(order) for order in orders])
            bias[rows] = shuffled.mean(0)
            limit = np.quantile((shuffled - bias[rows]).max(2), level, axis=0)
            live[rows] = (plug_in[rows] - bias[rows]).max(1) > limit
    values = np.maximum(plug_in - bias, 0.0)
    return MIMatrix(values, plug_in, bias, live, _entropies(factor_bins), names)


def ksg_matrix(
    codes: Any,
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    num_neighbors: int = 5,
    max_points: int | None = 2000,
    seed: int = 0,
) -> Floats:
    """Estimates I(code; factor) from distances between neighbours, without bins: a cross-check.

    It is for continuous codes. Its error grows with the information itself: a code and a factor
    that determine each other have no finite one.

    Args:
        codes: Shape ``(N, codes)``.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.
        num_neighbors: Number k of neighbours.
        max_points: Largest number of points, drawn at random; None for all.
        seed: Seed of this draw, and of the noise of 1e-10 that breaks ties.

    Returns:
        Nats, at least 0, shape ``(codes, factors)``.

    References:
        Kraskov, Stögbauer and Grassberger (2004), *Estimating mutual information*, eq. 8; for
        labels Ross (2014), *Mutual information between discrete and continuous data sets*.
    """
    check_count("num_neighbors", num_neighbors)
    optional(check_count)("max_points", max_points)
    check_seed("seed", seed)
    array, table = as_pair(codes, factors, nominal)
    with extra("metrics"):
        from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
    rows = subsample(len(array), max_points, seed)
    settings: dict[str, Any] = {"n_neighbors": num_neighbors, "random_state": seed}
    columns = [
        (mutual_info_classif if is_label else mutual_info_regression)(
            array[rows], column[rows], discrete_features=False, **settings
        )
        for column, is_label in zip(table.values.T, table.nominal, strict=True)
    ]
    return np.stack(columns, 1).astype(np.float64)


def subsample(count: int, max_points: int | None, seed: int) -> Ints:
    """Draws at most `max_points` of the indices below `count`, and keeps their order."""
    if max_points is None or count <= max_points:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:max_points])


def _orders(count: int, groups: Ints | None, number: int, seed: int) -> Iterator[Ints]:
    """Permutations of the points; with groups each point keeps its group."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        order = rng.permutation(count)
        if groups is not None:
            shuffled = order[np.argsort(groups[order], kind="stable")]  # group by group
            order[np.argsort(groups, kind="stable")] = shuffled
        yield order


class _Counts:
    """Information of all pairs, from one count of all their cells.

    Marginal counts are the same under every permutation, and n log n of whole numbers is looked up.
    """

    def __init__(self, code_bins: Ints, factor_bins: Ints) -> None:
        self._shape = (code_bins.shape[1], factor_bins.shape[1])
        num_bins, num_levels = int(code_bins.max()) + 1, int(factor_bins.max()) + 1
        pairs = np.arange(self._shape[0] * self._shape[1]).reshape(*self._shape, 1)
        self._size = pairs.size * num_bins * num_levels
        self._cells = pairs * (num_bins * num_levels) + code_bins.T[:, None] * num_levels
        self._levels = factor_bins.T.copy()
        self._number = len(code_bins)
        self._n_log_n = _n_log_n(self._number)
        sums = _sums_of(code_bins)[:, None] + _sums_of(factor_bins)
        self._marginal = self._n_log_n[-1] - sums

    def information(self, order: Ints) -> Floats:
        """Plug-in information with the factors' points in this order, shape (codes, factors)."""
        counts = np.bincount((self._cells + self._levels[:, order]).ravel(), minlength=self._size)
        joint = self._n_log_n[counts].reshape(*self._shape, -1).sum(2)
        return _without_rounding((joint + self._marginal) / self._number, self._number)


def _n_log_n(number: int) -> Floats:
    n = np.arange(number + 1, dtype=np.float64)
    return n * np.log(np.maximum(n, 1.0))


def _sums_of(binned: Ints) -> Floats:
    """The sum of n log n over the bins of each column."""
    table = _n_log_n(len(binned))
    return np.array([table[np.bincount(column)].sum() for column in binned.T])


def _entropies(binned: Ints) -> Floats:
    return _without_rounding(np.log(len(binned)) - _sums_of(binned) / len(binned), len(binned))


def _without_rounding(nats: Floats, number: int) -> Floats:
    """Sets what is only rounding to 0: a constant code would count as specialised."""
    rounded: Floats = np.where(nats < 1e-12 * np.log(number), 0.0, nats)
    return rounded


def top_factors(matrix: MIMatrix) -> Ints:
    """Finds the factor that each code carries most about; -1 for a code that is not live."""
    return np.where(matrix.live, matrix.values.argmax(1), -1)
