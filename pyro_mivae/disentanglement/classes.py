"""Matches categories, learnt without labels, to classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pyro_mivae.disentanglement.inputs import plain

__all__ = ["ClassMatch", "match_classes"]


@dataclass(frozen=True, repr=False)
class ClassMatch:
    """Categories matched to classes.

    Attributes:
        accuracy: The share of data whose category's class is their label, from 0 to 1.
        classes: The class of every category, None where there are fewer classes.
        shares: The share of data in every category.
        counts: Data of every category, a row each, by class.
        labels: The classes of the columns of `counts`, ascending.
    """

    accuracy: float
    classes: list[int | None]
    shares: list[float]
    counts: list[list[int]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def __repr__(self) -> str:
        used = sum(share > 0 for share in self.shares)
        return (
            f"class accuracy {100 * self.accuracy:.1f} % of {len(self.shares)} categories, "
            f"{used} of them used"
        )


def match_classes(categories: Any, labels: Any, num_categories: int) -> ClassMatch:
    r"""Measures the class accuracy of a category under the best one-to-one matching.

    .. math:: \max_m \frac{1}{N} \sum_i 1[m(d_i) = y_i]

    over all maps m of categories to classes that use no class twice (found by the Hungarian
    method). Only the matching sees the labels. A category that says nothing reaches at least
    the share of the largest class.

    Args:
        categories: Likeliest category of each datum, integers (N,), below `num_categories`; an
            array, or a tensor of any device.
        labels: Class of each datum, integers (N,), likewise.
        num_categories: Number of categories.

    Raises:
        ValueError: If the shapes differ, a category is out of range, or they are no whole numbers.

    References:
        Yang, Xu, Nie, Yan and Zhuang (2010), *Image clustering using local discriminant models
        and global integration*, eq. 24.
    """
    categories, labels = np.asarray(plain(categories)), np.asarray(plain(labels))
    if categories.shape != labels.shape or categories.ndim != 1 or not len(labels):
        raise ValueError(
            "expected a category and a label for each datum, found shapes "
            f"{categories.shape} and {labels.shape}"
        )
    numbered = labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and (labels % 1 == 0).all())
    if categories.dtype.kind not in "iu" or not numbered:
        raise ValueError(
            "expected categories and labels as whole numbers, found "
            f"{categories.dtype} and {labels.dtype}: number them, for example with "
            "numpy.unique(labels, return_inverse=True)[1]"
        )
    if categories.min() < 0 or categories.max() >= num_categories:
        raise ValueError(
            f"expected categories from 0 to {num_categories - 1}, found "
            f"{categories.min()} to {categories.max()}"
        )
    classes, class_of_datum = np.unique(labels, return_inverse=True)
    counts = np.zeros((num_categories, len(classes)), dtype=np.int64)
    np.add.at(counts, (categories, class_of_datum), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched: list[int | None] = [None] * num_categories
    for row, column in zip(rows, columns, strict=True):
        matched[row] = int(classes[column])
    shares = counts.sum(1) / len(labels)
    accuracy = float(counts[rows, columns].sum() / len(labels))
    return ClassMatch(accuracy, matched, shares.tolist(), counts.tolist(), classes.tolist())
