"""Information of codes about factors of the images made from them, and their alignment.

Nothing here needs a model: codes and factors are arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.disentanglement.binning import bin_columns
from pyro_mivae.disentanglement.inputs import Floats, Ints, as_array, plain
from pyro_mivae.disentanglement.matrix import MIMatrix, from_bins
from pyro_mivae.disentanglement.scores import mutual_information_gap
from pyro_mivae.information.estimate import Estimate
from pyro_mivae.information.generator.effects import standard_error
from pyro_mivae.information.generator.report import (
    alignment_lines,
    head,
    information_table,
    most_lines,
)


@dataclass(frozen=True, eq=False, repr=False)
class CodeInformation:
    """Information between codes and factors, in nats without the bias of counting.

    Attributes:
        codes: Names of the codes.
        factors: Names of the factors.
        matrix: Information of each code with each factor, with its null: the mean over
            permutations is `bias`, and `live` says which codes exceed 99 % of them.
        standard_errors: Standard errors of the information, shape ``(codes, factors)``.
        ceiling: Information of the factors with each other, shape ``(factors, factors)``: that of
            codes which are the factors.
        within: Information inside each label, shape ``(codes, factors)``; NaN for the label, and
            everywhere without one.
        within_ceiling: Information of each factor with itself inside the labels, ``(factors,)``.
        pair: The two factors of the alignment.
        alignment: How far the better matching of two continuous codes with the pair is ahead of the
            other; None with fewer than two continuous codes.
        amount: Information of the better matching; None likewise.
        matched: The codes of the better matching, in the order of `pair`; None likewise.
        num_images: Number of images that the information is of.
    """

    codes: tuple[str, ...]
    factors: tuple[str, ...]
    matrix: MIMatrix
    standard_errors: Floats
    ceiling: Floats
    within: Floats
    within_ceiling: Floats
    pair: tuple[str, str]
    alignment: Estimate | None
    amount: Estimate | None
    matched: tuple[str, str] | None
    num_images: int

    @property
    def alignment_ceiling(self) -> float:
        """The alignment of codes that are the two factors of the pair."""
        first, second = (self.factors.index(name) for name in self.pair)
        own, other = self.ceiling[[first, second], [first, second]], self.ceiling[first, second]
        return float(own.sum() - 2 * other)

    @property
    def mig(self) -> float:
        """The mutual information gap of the live codes, averaged over factors that vary."""
        return _gap(self.matrix.live_values, self.matrix.entropies)

    @property
    def mig_ceiling(self) -> float:
        """The same of codes that are the factors."""
        return _gap(self.ceiling, self.matrix.entropies)

    def __repr__(self) -> str:
        return "\n".join([head(self), *most_lines(self), *alignment_lines(self)])

    def __str__(self) -> str:
        return "\n".join([head(self), *information_table(self), *alignment_lines(self)])


def code_information(
    codes: Any,
    factors: Mapping[str, Any],
    *,
    label: str | None = None,
    categories: Sequence[int] | None = None,
    code_names: Sequence[str] | None = None,
    pair: tuple[str, str] = ("thickness", "slant"),
    bins: int = 20,
    num_permutations: int = 200,
    seed: int = 0,
) -> CodeInformation:
    r"""Measures the information of codes about factors, and the alignment of two codes with two.

    The information is counted in bins of equal ranks, and the mean over permutations is subtracted
    (:func:`~pyro_mivae.disentanglement.mi_matrix`). With the factors T and S of `pair` and two
    codes the *alignment* is

    .. math:: A = | I(c_0; T) + I(c_1; S) - I(c_0; S) - I(c_1; T) | ,

    and the *amount* is the larger of the two matchings :math:`I(c_0; T) + I(c_1; S)` and
    :math:`I(c_0; S) + I(c_1; T)`. Of more than two continuous codes, the two whose matching has
    most are taken. A code of the label, codes turned by 45 degrees and empty codes have no
    alignment, while a single code for T has half of it or less.

    Args:
        codes: Values of the codes, shape ``(N, codes)``.
        factors: Factors of the same images by name, shape ``(N,)`` each. Rows with NaN are left
            out. A factor that is constant has information 0.
        label: Name of the factor that is a label, if there is one.
        categories: For each code the number of its values if it is a category (numbered from 0),
            and 0 for a continuous one. By default all are continuous.
        code_names: Names of the codes, by default ``"0"``, ``"1"``, ...
        pair: Names of the factors T and S.
        bins: Number of bins of a continuous code or factor.
        num_permutations: Number of permutations that estimate the null.
        seed: Seed of the permutations.

    Raises:
        ValueError: If names or shapes do not fit, or fewer than two images in a bin are left.
    """
    array = as_array(codes, "codes", 2)
    kinds = [0] * array.shape[1] if categories is None else list(categories)
    names = [str(i) for i in range(array.shape[1])] if code_names is None else list(code_names)
    table = {name: np.asarray(plain(column), np.float64) for name, column in factors.items()}
    _check(array, table, names, kinds, label, pair)
    finite: NDArray[np.bool_] = np.isfinite(np.stack(list(table.values())))
    rows = np.asarray(finite.all(0))
    if rows.sum() < 2 * bins:
        raise ValueError(
            f"factors: expected at least {2 * bins} images whose factors are all measured, for "
            f"{bins} bins, found {int(rows.sum())} of {len(rows)}"
        )
    array, table = array[rows], {name: column[rows] for name, column in table.items()}
    code_bins = _bin_codes(array, kinds, bins)
    factor_bins = _bin_factors(table, label, bins)
    settings: dict[str, Any] = {"num_permutations": num_permutations, "seed": seed}
    matrix = from_bins(code_bins, factor_bins, tuple(table), **settings)
    ceiling = from_bins(factor_bins, factor_bins, tuple(table), **settings)
    pointwise = _pointwise(code_bins, factor_bins)
    errors = pointwise.std(0, ddof=1) / np.sqrt(len(array))
    within, within_ceiling = _inside_labels(array, kinds, table, label, bins, settings)
    continuous = [i for i, kind in enumerate(kinds) if not kind]
    columns = [list(table).index(name) for name in pair]
    alignment = amount = matched = None
    if len(continuous) > 1:
        one, other = _matching(matrix.values, continuous, columns)
        straight, crossed = ((one, other), columns), ((other, one), columns)
        differences = pointwise[:, *straight].sum(1) - pointwise[:, *crossed].sum(1)
        best = float(matrix.values[straight].sum())
        gap = best - float(matrix.values[crossed].sum())
        alignment = Estimate(gap, standard_error(differences))
        amount = Estimate(best, standard_error(pointwise[:, *straight].sum(1)))
        matched = (names[one], names[other])
    return CodeInformation(
        tuple(names),
        tuple(table),
        matrix,
        errors,
        ceiling.values,
        within,
        within_ceiling,
        pair,
        alignment,
        amount,
        matched,
        len(array),
    )


def _check(
    array: Floats,
    table: Mapping[str, Floats],
    names: Sequence[str],
    kinds: Sequence[int],
    label: str | None,
    pair: tuple[str, str],
) -> None:
    lengths = {name: column.shape for name, column in table.items()}
    if set(lengths.values()) != {(len(array),)}:
        raise ValueError(
            f"factors: expected arrays of the shape ({len(array)},), as many as codes, found "
            f"{lengths}"
        )
    if len(names) != array.shape[1] or len(kinds) != array.shape[1]:
        raise ValueError(
            f"code_names, categories: expected {array.shape[1]} each, one for every code, found "
            f"{len(names)} and {len(kinds)}"
        )
    absent = [name for name in (*pair, *([label] if label else [])) if name not in table]
    if absent or len(set(pair)) != 2 or label in pair:
        raise ValueError(
            f"pair, label: expected two ordered factors and perhaps a label among {list(table)}, "
            f"found {pair} and {label!r}"
        )
    for column, name, kind in zip(array.T, names, kinds, strict=True):
        if kind and not (np.isin(column, range(kind))).all():
            raise ValueError(
                f"categories: expected whole numbers from 0 to {kind - 1} of the code '{name}', "
                f"found {column.min():g} to {column.max():g}"
            )


def _bin_codes(array: Floats, kinds: Sequence[int], bins: int) -> Ints:
    """Bins of equal ranks; a category is its own bin."""
    binned = bin_columns(array, bins=bins)
    for i, kind in enumerate(kinds):
        if kind:
            binned[:, i] = array[:, i].astype(np.int64)
    return binned


def _bin_factors(table: Mapping[str, Floats], label: str | None, bins: int) -> Ints:
    columns = np.stack(list(table.values()), 1)
    binned = bin_columns(columns, bins=bins)
    for j, name in enumerate(table):
        if name == label:
            binned[:, j] = np.unique(columns[:, j], return_inverse=True)[1]
    return binned


def _inside_labels(
    array: Floats,
    kinds: Sequence[int],
    table: Mapping[str, Floats],
    label: str | None,
    bins: int,
    settings: Mapping[str, Any],
) -> tuple[Floats, Floats]:
    """Information by ranks inside each label, with permutations inside the labels."""
    shape = array.shape[1], len(table)
    within, ceiling = np.full(shape, np.nan), np.full(len(table), np.nan)
    if label is None or len(table) < 2:
        return within, ceiling
    groups: Ints = np.unique(table[label], return_inverse=True)[1].astype(np.int64)
    ordered = [j for j, name in enumerate(table) if name != label]
    columns = np.stack(list(table.values()), 1)[:, ordered]
    code_bins = bin_columns(array, bins=bins, within=groups)
    for i, kind in enumerate(kinds):
        if kind:
            code_bins[:, i] = array[:, i].astype(np.int64)
    factor_bins = bin_columns(columns, bins=bins, within=groups)
    names = tuple(name for name in table if name != label)
    inside: dict[str, Any] = {**settings, "groups": groups}
    within[:, ordered] = from_bins(code_bins, factor_bins, names, **inside).values
    ceiling[ordered] = np.diag(from_bins(factor_bins, factor_bins, names, **inside).values)
    return within, ceiling


def _pointwise(code_bins: Ints, factor_bins: Ints) -> Floats:
    """The log-ratio of counts whose mean is the plug-in information, (N, codes, factors)."""
    shape = (len(code_bins), code_bins.shape[1], factor_bins.shape[1])
    ratios = np.empty(shape)
    levels = int(factor_bins.max()) + 1
    for i, code in enumerate(code_bins.T):
        for j, factor in enumerate(factor_bins.T):
            cells = code * levels + factor
            joint = np.bincount(cells)[cells]
            expected = np.bincount(code)[code] * np.bincount(factor)[factor] / len(code)
            ratios[:, i, j] = np.log(joint / expected)
    return ratios


def _matching(values: Floats, continuous: Sequence[int], columns: Sequence[int]) -> tuple[int, int]:
    """The two codes, one for each factor of the pair, that have most together."""
    pairs = [(i, j) for i in continuous for j in continuous if i != j]
    return max(pairs, key=lambda p: float(values[list(p), list(columns)].sum()))


def _gap(values: Floats, entropies: Floats) -> float:
    varies = entropies > 0
    if not varies.any() or not len(values):
        return 0.0
    return float(mutual_information_gap(values[:, varies], entropies[varies]).mean())
