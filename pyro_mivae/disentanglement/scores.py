"""Scores of a matrix of codes and factors: MIG, modularity, SAP, and DCI's two entropies."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from pyro_mivae.disentanglement.inputs import Floats, as_array, as_pair


def mutual_information_gap(mi: Any, entropies: Any) -> Floats:
    r"""Measures how far the first code is ahead of the second, by factor.

    :math:`[I(c_{(1)}; f_k) - I(c_{(2)}; f_k)] / H(f_k)`; the MIG is the mean over factors. It is 1
    also for a single code that holds all factors at once: read it beside modularity or DCI's D, and
    beside its ceiling.

    Args:
        mi: Information in nats, shape ``(codes, factors)``, of the live codes. A code that is
            lacking counts as 0.
        entropies: Entropies of the binned factors in nats, shape ``(factors,)``.

    Returns:
        From 0 to 1, shape ``(factors,)``.

    Raises:
        ValueError: If there is not one entropy for each factor, or one that is not positive.

    References:
        Chen et al. (2018), *Isolating sources of disentanglement in VAEs*, eq. 6.
    """
    matrix, unit = _matrix(mi, "mi"), as_array(entropies, "entropies", 1)
    if unit.shape != matrix.shape[1:]:
        raise ValueError(
            f"entropies: expected one for each of the {matrix.shape[1]} factors, found the shape "
            f"{unit.shape}"
        )
    if (unit <= 0).any():
        raise ValueError(
            f"entropies: expected numbers above 0, found {unit.min()}: leave out factors that do "
            "not vary, or not inside the groups"
        )
    return _gap(matrix) / unit


def modularity(mi: Any) -> Floats:
    r"""Measures how far a code carries information about one factor only, by code.

    :math:`1 - (\sum_k m_{ik}^2 - \max_k m_{ik}^2) / ((F - 1) \max_k m_{ik}^2)`, and 0 for a code
    without information. The score is the mean over codes, 0 if there are none.

    Args:
        mi: Information in nats, shape ``(codes, factors)``, of the live codes.

    Returns:
        From 0 to 1, shape ``(codes,)``.

    Raises:
        ValueError: If there is only one factor.

    References:
        Ridgeway and Mozer (2018), *Learning deep disentangled embeddings with the F-statistic
        loss*, eq. 2 and 3.
    """
    squares = _matrix(mi, "mi") ** 2
    if squares.shape[1] < 2:
        raise ValueError("modularity: expected at least two factors, found one")
    largest = squares.max(1)
    rest = (squares.sum(1) - largest) / (squares.shape[1] - 1)
    by_code: Floats = np.where(largest > 0, 1 - rest / np.where(largest > 0, largest, 1.0), 0.0)
    return by_code


def sap(codes: Any, factors: Any, *, nominal: Collection[str | int] = ()) -> Floats:
    r"""Measures how far the best code is ahead of the second in predicting a factor alone.

    The measure of a prediction is :math:`R^2`: the squared correlation of a code and an ordered
    factor. For a label it is the share of the code's variance between the labels, the same for two
    labels. The score is the mean over factors.

    Args:
        codes: Shape ``(N, codes)``.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.

    Returns:
        From 0 to 1, shape ``(factors,)``.

    References:
        Kumar et al. (2018), *Variational inference of disentangled latent concepts from unlabeled
        observations*, section 3.
    """
    array, table = as_pair(codes, factors, nominal)
    variance = array.var(0)
    varies = variance > 1e-24 * array.mean(0) ** 2  # a constant one may vary by rounding
    centred = (array - array.mean(0)) / np.sqrt(np.where(varies, variance, 1.0))
    explained = np.zeros((array.shape[1], len(table.names)))
    for k, (column, is_label) in enumerate(zip(table.values.T, table.nominal, strict=True)):
        if is_label:
            labels = column.astype(np.int64)
            number = np.bincount(labels)
            sums = np.stack([np.bincount(labels, weights=code) for code in centred.T])
            between = (sums**2 / number).sum(1) / len(column)
        else:
            between = (centred.T @ (column - column.mean()) / (len(column) * column.std())) ** 2
        explained[:, k] = np.where(varies, between, 0.0)
    return _gap(explained)


def disentanglement(importance: Any) -> float:
    r"""Computes DCI's D: how far a code is important for one factor only.

    The mean of :math:`1 - H_F(\text{row})`, entropies to the base of the number of factors F, rows
    weighted by their sums; 0 where nothing is important.

    Args:
        importance: Importance of each code for each factor, at least 0, shape
            ``(codes, factors)``.

    References:
        Eastwood and Williams (2018), *A framework for the quantitative evaluation of disentangled
        representations*, section 2.
    """
    return _concentration(_matrix(importance, "importance"))


def completeness(importance: Any) -> float:
    r"""Computes DCI's C: how far a factor needs one code only.

    The mean of :math:`1 - H_C(\text{column})`, entropies to the base of the number of codes C,
    columns weighted by their sums; 0 where nothing is important.

    Args:
        importance: Importance of each code for each factor, at least 0, shape
            ``(codes, factors)``.

    References:
        As :func:`disentanglement`.
    """
    return _concentration(_matrix(importance, "importance").T)


def _concentration(rows: Floats) -> float:
    total = rows.sum()
    if total <= 0:
        return 0.0
    sums = rows.sum(1, keepdims=True)
    shares = rows / np.where(sums > 0, sums, 1.0)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    base = np.log(rows.shape[1]) if rows.shape[1] > 1 else 1.0
    return float((sums[:, 0] / total * (1 - entropy / base)).sum())


def _gap(scores: Floats) -> Floats:
    """Subtracts the second of each column from the largest; rows that are lacking are 0."""
    largest = np.sort(np.concatenate([scores, np.zeros((2, scores.shape[1]))]), axis=0)
    gap: Floats = largest[-1] - largest[-2]
    return gap


def _matrix(values: Any, name: str) -> Floats:
    """A matrix that may have no rows: no code was live."""
    array = np.asarray(values, np.float64)
    if array.ndim == 2 and array.shape[1] and not len(array):
        return array
    array = as_array(values, name, 2)
    if (array < 0).any():
        raise ValueError(f"{name}: expected numbers of at least 0, found {array.min()}")
    return array
