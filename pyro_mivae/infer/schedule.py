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
    if callable(weight) or isinstance(weight, Tensor):
        return weight
    if not isinstance(weight, numbers.Real) or not math.isfinite(weight) or weight < 0:
        raise ValueError(
            f"{name} must be a finite number >= 0 or a callable of the step, found {weight!r}"
        )
    return weight
