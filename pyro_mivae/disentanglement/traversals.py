"""The generator's side: how measured factors change while one code is moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_mivae.disentanglement.inputs import (
    Floats,
    Ints,
    as_array,
    plain,
)

SHOWN = 5
"""Codes in the text of a result."""


@dataclass(frozen=True, eq=False, repr=False)
class TraversalEffects:
    """The effect of moving a code on each factor; every array has the shape ``(codes, factors)``.

    Attributes:
        slope: Mean over traversals of the least-squares slope, in standard deviations of the factor
            per unit of code.
        slope_se: Standard error of `slope` over the traversals; NaN for a single one.
        exclusivity: The factor's share of the code's squared slopes: 1 where the code moves this
            factor only. The mean of squares, so that slopes which differ in sign between traversals
            do not cancel. NaN for a code that moves nothing.
        linearity: The share of a factor's change along the traversals that the lines explain. NaN
            where nothing changes.
        num_missing: Number of decoded images that could not be measured.
    """

    slope: Floats
    slope_se: Floats
    exclusivity: Floats
    linearity: Floats
    num_missing: Ints

    def __repr__(self) -> str:
        lines = []
        for code, slopes in enumerate(self.slope):
            sizes = np.nan_to_num(np.abs(slopes))
            k = int(sizes.argmax())
            lines.append(
                f"code {code} moves factor {k} most: {slopes[k]:.2f} ± {self.slope_se[code, k]:.2f}"
                f" standard deviations per unit, exclusivity {self.exclusivity[code, k]:.2f}"
            )
        more = [f"and {len(lines) - SHOWN} codes more"] if lines[SHOWN:] else []
        codes, factors = self.slope.shape
        return "\n  ".join(
            [f"Effects of {codes} codes on {factors} factors", *lines[:SHOWN], *more]
        )


def traversal_effects(values: Any, measured: Any, *, scale: Any) -> TraversalEffects:
    """Fits a line to each factor along each traversal.

    The question is to the generator alone, in the same way for any model: decode traversals of each
    code, with the other latents fixed at draws, and measure the images.

    Args:
        values: Values of the moved code, shape ``(steps,)``, or ``(codes, steps)`` if they differ.
        measured: Factors of the decoded images, shape ``(codes, traversals, steps, factors)``. NaN,
            for images that could not be measured, are left out and counted.
        scale: Standard deviation of each factor over the data, shape ``(factors,)``: without it
            factors in pixels and in radians could not be compared.

    Raises:
        ValueError: If shapes do not fit, a scale is not positive, or a code's values are all equal.
    """
    y = np.asarray(plain(measured), np.float64)
    if y.ndim != 4:
        raise ValueError(
            "measured: expected the shape (codes, traversals, steps, factors), found "
            f"{y.shape}: measured[None] adds the dimension of a single code"
        )
    unit = as_array(scale, "scale", 1)
    grid = as_array(values, "values", np.ndim(values))
    if grid.shape not in ((y.shape[2],), (y.shape[0], y.shape[2])) or unit.shape != y.shape[3:]:
        raise ValueError(
            "values, scale: expected the shapes (steps,) or (codes, steps), and (factors,), of "
            f"measured {y.shape}, found {grid.shape} and {unit.shape}"
        )
    if (unit <= 0).any() or (np.ptp(grid, axis=-1) <= 0).any():
        raise ValueError("scale, values: expected positive scales, and values that differ")
    present = np.isfinite(y)
    count = np.maximum(present.sum(2, keepdims=True), 1)
    x = np.broadcast_to(grid, (y.shape[0], y.shape[2]))[:, None, :, None]
    x = np.where(present, x - (present * x).sum(2, keepdims=True) / count, 0.0)
    y = np.where(present, y, 0.0) / unit
    y = np.where(present, y - y.sum(2, keepdims=True) / count, 0.0)
    spread = (x**2).sum(2)
    fitted = spread > 0
    slopes = (x * y).sum(2) / np.where(fitted, spread, 1.0)
    number = fitted.sum(1)
    mean = _ratio(slopes.sum(1), number)
    residual = np.where(fitted, slopes - np.nan_to_num(mean)[:, None], 0.0)
    variance = _ratio((residual**2).sum(1), number - 1)
    squares = _ratio((slopes**2).sum(1), number)
    return TraversalEffects(
        slope=mean,
        slope_se=np.sqrt(_ratio(variance, number)),
        exclusivity=_ratio(squares, np.nansum(squares, axis=1, keepdims=True)),
        linearity=_ratio((slopes**2 * spread).sum(1), (y**2).sum((1, 2))),
        num_missing=(~present).sum((1, 2)),
    )


def _ratio(above: Any, below: Any) -> Floats:
    """Divides; NaN where the divisor is not positive."""
    below = np.broadcast_to(below, np.shape(above))
    ratio: Floats = np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
    return ratio
