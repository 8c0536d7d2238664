"""Weights of the loss, lambda and beta: a number or a function of the step."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from torch import Tensor

Weight = float | Callable[[int], float]
"""A number, or a schedule: a function of the step."""


def checked_weight(name: str, weight: Any) -> Any:
    """Returns `weight` unless it is a number that is negative or not finite."""
    if callable(weight):
        return weight
    if isinstance(weight, Tensor):
        if weight.numel() != 1:
            raise ValueError(
                f"{name} must be one number, found a tensor of shape {tuple(weight.shape)}"
            )
        if weight.device.type != "cpu":  # would have to be waited for
            return weight
        checked_weight(name, float(weight))
        return weight
    if not isinstance(weight, numbers.Real) or not math.isfinite(weight) or weight < 0:
        raise ValueError(
            f"{name} must be a finite number >= 0 or a callable of the step, found {weight!r}"
        )
    return weight
