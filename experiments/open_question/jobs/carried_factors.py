"""The measures of the open question: how much a factor is carried, and by which code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pyro_mivae.disentanglement.matrix import MIMatrix


def carried(matrix: MIMatrix, factor: str) -> float:
    """Returns the largest corrected information of a live code about a factor; 0 without one."""
    return float(matrix.live_values[:, _column(matrix, factor)].max(initial=0.0))


def carried_share(matrix: MIMatrix, factor: str, other: str) -> float:
    r"""Computes a factor's share of the information that the codes carry about two.

    :math:`\sum_j I(c_j; T) / \sum_j [I(c_j; T) + I(c_j; S)]` over live codes, of corrected
    information.

    Returns:
        From 0 to 1; NaN if the codes carry nothing about either.
    """
    columns = [_column(matrix, name) for name in (factor, other)]
    first, second = matrix.live_values[:, columns].sum(0)
    return float(first / (first + second)) if first + second > 0 else math.nan


def leading_code(matrix: MIMatrix) -> int:
    """Returns the code with the largest corrected information about any factor; -1 without one.

    Of a matrix of the codes of the information term it is "the uniform code" of a run.
    """
    if not matrix.num_live:
        return -1
    return int(np.where(matrix.live, matrix.values.max(1), -1.0).argmax())


def following(top: Sequence[str], expected: Sequence[str]) -> float:
    """Computes the share of runs whose leading code carries most about the expected factor.

    Args:
        top: Top factor of the leading code, by run; ``""`` where no code is live.
        expected: Factor whose law equals the code's prior, by run.

    Raises:
        ValueError: If there is no run, or one without an expected factor.
    """
    if len(top) == 0 or len(top) != len(expected):
        raise ValueError(
            f"following: expected a top and an expected factor for every run, found {len(top)} and "
            f"{len(expected)}"
        )
    if nameless := sum(name == "" for name in expected):
        raise ValueError(
            "expected: expected the name of a factor for every run, found an empty one in "
            f"{nameless} of {len(expected)}: a code that is not live would count as following"
        )
    return sum(a == b for a, b in zip(top, expected, strict=True)) / len(top)


def _column(matrix: MIMatrix, factor: str) -> int:
    if factor not in matrix.names:
        raise ValueError(f"factor: expected one of {list(matrix.names)}, found {factor!r}")
    return matrix.names.index(factor)
