"""How well a discrete code that was learnt without labels tells the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["ClassMatch", "match_classes"]


@dataclass(frozen=True)
class ClassMatch:
    """Categories matched to classes.

    Attributes:
        accuracy: The share of data whose category's class is their label, from 0 to 1.
        classes: The class of every category, None where there are fewer classes.
        shares: The share of data in every category.
    """

    accuracy: float
    classes: list[int | None]
    shares: list[float]


def match_classes(categories: Tensor, labels: Tensor, num_categories: int) -> ClassMatch:
    r"""The unsupervised class accuracy of a category, under the best one-to-one matching.

    .. math:: \max_m \frac{1}{N} \sum_i 1[m(d_i) = y_i]

    over all maps m of categories to classes that give no class twice (found by the Hungarian
    method). The matching is the only thing that sees labels. A category that says nothing has at
    least the share of the largest class.

    Args:
        categories: The likeliest category of each datum, integers (N,), below `num_categories`.
        labels: Their classes, integers (N,).
        num_categories: How many there are.

    Raises:
        ValueError: If the arguments do not fit.

    References:
        Yang, Xu, Nie, Yan and Zhuang (2010), *Image clustering using local discriminant models
        and global integration*, eq. 24.
    """
    if categories.shape != labels.shape or categories.dim() != 1 or not len(labels):
        raise ValueError(
            "expected a category and a label for each datum, found shapes "
            f"{tuple(categories.shape)} and {tuple(labels.shape)}"
        )
    if int(categories.min()) < 0 or int(categories.max()) >= num_categories:
        raise ValueError(
            f"expected categories from 0 to {num_categories - 1}, found "
            f"{int(categories.min())} to {int(categories.max())}"
        )
    classes, place = torch.unique(labels.cpu(), return_inverse=True)
    counts = np.zeros((num_categories, len(classes)), dtype=np.int64)
    np.add.at(counts, (categories.cpu().numpy(), place.numpy()), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched: list[int | None] = [None] * num_categories
    for row, column in zip(rows, columns, strict=True):
        matched[row] = int(classes[column])
    shares = counts.sum(1) / len(labels)
    return ClassMatch(counts[rows, columns].sum() / len(labels), matched, shares.tolist())
