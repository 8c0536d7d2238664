"""Half precision on a CPU, which pays only where the processor has instructions for it."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

SIZE = 256
"""Rows and columns of the matrices whose product is timed; some milliseconds in all."""
SLOWER = 2.0
"""Times as long as single precision from which on a warning is given."""
_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}


def warn_if_slow(precision: str) -> None:
    """Warns if this processor multiplies matrices slower in half than in single precision.

    A processor without such instructions imitates them: there a step took up to 19 times as long.

    Args:
        precision: As Fabric names it, for example ``"bf16-mixed"``.
    """
    half = _TYPES.get(precision.partition("-")[0])
    if half is None:
        return
    matrix = torch.ones(SIZE, SIZE)
    ratio = seconds_of_product(matrix.to(half)) / seconds_of_product(matrix)
    if ratio > SLOWER:
        logger.warning(
            "precision %s: on this processor a product of matrices takes %.0f times as long as in "
            "single precision, so that steps are slower by it. Use '32-true', or a processor or "
            "GPU with instructions for half precision",
            precision,
            ratio,
        )


def seconds_of_product(matrix: Tensor) -> float:
    """Times the product of a matrix with itself: the least of some times."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        taken.append(time.perf_counter() - started)
    return min(taken)
