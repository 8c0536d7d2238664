r"""Sprites: one of three shapes with continuous scale, angle and place, each from any law.

The idea is that of dSprites (Matthey, Higgins, Hassabis and Lerchner 2017), whose factors are on
grids; here they are continuous and their laws are chosen. All shapes have the area :math:`s^2` at
scale :math:`s`, so that the shape says nothing about the size, and their centroid is at (x, y):

- *rectangle*: sides :math:`s\sqrt{1.5}` by :math:`s/\sqrt{1.5}`;
- *ellipse*: axes in the ratio 1.5, of area :math:`s^2`;
- *heart*: a square on its corner with half a disc on each of its two upper sides, whose side is
  :math:`s/\sqrt{1+\pi/4}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.checks import check_all, check_count, check_draws, check_seed
from pyro_mivae.datasets.factored import (
    FactorData,
    FactorSplit,
    make_split,
    streams,
)
from pyro_mivae.datasets.laws import (
    Law,
    Normal,
    Uniform,
    draw,
)

__all__ = ["SHAPES", "SPRITE_LAWS", "render_sprites", "sprites"]

SHAPES = ("rectangle", "ellipse", "heart")
"""Names of the labels 0, 1 and 2."""

SPRITE_LAWS: Mapping[str, Law] = {
    "scale": Uniform(5.0, 11.0),
    "angle": Uniform(-math.pi / 3, math.pi / 3),
    "x": Normal(0.0, 1.5, 4.0),
    "y": Normal(0.0, 1.5, 4.0),
}
"""The default law of each factor, for images of 28 by 28 pixels."""

_UNITS = {"scale": "px", "angle": "rad", "x": "px", "y": "px"}
_ASPECT = 1.5
_SAMPLES = 4  # in each direction of a pixel
_BATCH = 256

Array = NDArray[np.float64]


def sprites(
    *,
    laws: Mapping[str, Law] | None = None,
    num_train: int = 60_000,
    num_test: int = 10_000,
    size: int = 28,
    seed: int = 0,
    name: str = "sprites",
) -> FactorData:
    """Draws independent factors and renders them; shapes are equally likely.

    Args:
        laws: Laws of ``scale``, ``angle``, ``x`` and ``y``; a factor that is left out keeps its law
            in :data:`SPRITE_LAWS`. ``scale``: square root of the area, in pixels. ``angle``:
            radians, positive clockwise on the screen; rectangle and ellipse repeat after pi, so
            stay within an interval of that length. ``x``, ``y``: pixels from the image's middle to
            the right and down.
        num_train: Number of training images.
        num_test: Number of test images, of other draws.
        size: Height and width in pixels.
        seed: Seed of all draws. Two data sets that differ in one law only share all other factors.
        name: Name of the data set.

    Raises:
        ValueError: If `laws` has another factor, or a sprite would not fit into its image.
    """
    check_all(
        {"num_train": num_train, "num_test": num_test, "seed": seed},
        {"num_train": check_draws, "num_test": check_draws, "seed": check_seed},
    )
    check_count("size", size, most=10_000)
    if unknown := set(laws or {}) - set(SPRITE_LAWS):
        raise ValueError(f"laws: expected some of {', '.join(SPRITE_LAWS)}, found {unknown}")
    chosen = {**SPRITE_LAWS, **(laws or {})}
    return FactorData(
        name,
        f"Sprites of {size} by {size} pixels, seed {seed}.",
        chosen,
        train=_split(chosen, num_train, size, seed, "train"),
        test=_split(chosen, num_test, size, seed, "test"),
    )


def _split(laws: Mapping[str, Law], number: int, size: int, seed: int, part: str) -> FactorSplit:
    (for_shape,) = streams(seed, f"sprites/{part}/shape")
    shape = for_shape.integers(len(SHAPES), size=number)
    generators = streams(seed, *(f"sprites/{part}/{factor}" for factor in laws))
    values = {
        factor: draw(law, number, generator)
        for (factor, law), generator in zip(laws.items(), generators, strict=True)
    }
    images = render_sprites(shape, **values, size=size)
    return make_split(images, shape, {factor: (v, _UNITS[factor]) for factor, v in values.items()})


def render_sprites(
    shape: NDArray[Any], *, scale: Array, angle: Array, x: Array, y: Array, size: int = 28
) -> NDArray[np.uint8]:
    """Renders sprites with 4 by 4 samples a pixel.

    Args:
        shape: (N,), 0, 1 or 2, of :data:`SHAPES`.
        scale: (N,), square root of the area in pixels.
        angle: (N,), in radians, positive clockwise on the screen.
        x: (N,), pixels from the image's middle to the right.
        y: (N,), pixels from the image's middle down.
        size: Height and width of an image.

    Returns:
        uint8 (N, size, size), 0 outside and 255 inside.

    Raises:
        ValueError: If a shape is none of these, a number is not finite, a scale is not positive, or
            a sprite would not fit into its image.
    """
    shape = np.asarray(shape)
    if wrong := shape[~np.isin(shape, range(len(SHAPES)))].tolist():
        numbers = ", ".join(f"{number} ({name})" for number, name in enumerate(SHAPES))
        raise ValueError(f"shape: expected {numbers}, found {wrong[0]}")
    shape = shape.astype(np.int64)
    columns = {"scale": scale, "angle": angle, "x": x, "y": y}
    columns = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    for name, values in columns.items():
        if values.shape != shape.shape:
            raise ValueError(
                f"{name}: expected a number for each shape, {shape.shape}, found {values.shape}"
            )
        if not (finite := np.isfinite(values)).all():
            raise ValueError(f"{name}: expected finite numbers, found {values[~finite][0]}")
    scale, angle, x, y = columns.values()
    if len(scale) and not scale.min() > 0:
        raise ValueError(f"scale: expected positive numbers of pixels, found {scale.min():.4g}")
    extent = np.maximum(np.abs(x), np.abs(y)) + _RADIUS[shape] * scale
    if len(scale) and extent.max() > size / 2:
        raise ValueError(
            f"a sprite would reach {extent.max():.4g} pixels from the middle of an image of {size} "
            f"by {size}: expected at most {size / 2:g}. Choose laws with less reach, or a larger "
            "size"
        )
    images = np.empty((len(scale), size, size), np.uint8)
    grid = (np.arange(_SAMPLES * size) + 0.5) / _SAMPLES - size / 2
    for start in range(0, len(scale), _BATCH):
        rows = slice(start, start + _BATCH)
        s, a, x0, y0 = (value[rows, None, None] for value in (scale, angle, x, y))
        right, down = (grid - x0) / s, (grid[:, None] - y0) / s
        # The sprite's own axes.
        u, v = np.cos(a) * right + np.sin(a) * down, np.cos(a) * down - np.sin(a) * right
        inside = np.empty(u.shape, bool)
        for number, shows in enumerate((_rectangle, _ellipse, _heart)):
            chosen = shape[rows] == number
            inside[chosen] = shows(u[chosen], v[chosen])
        cells = inside.reshape(-1, size, _SAMPLES, size, _SAMPLES)
        images[rows] = np.rint(255.0 * cells.mean((2, 4)))
    return images


def _rectangle(u: Array, v: Array) -> NDArray[np.bool_]:
    half = math.sqrt(_ASPECT) / 2
    return (np.abs(u) <= half) & (np.abs(v) <= half / _ASPECT)


def _ellipse(u: Array, v: Array) -> NDArray[np.bool_]:
    return u**2 / _ASPECT + v**2 * _ASPECT <= 1 / math.pi


_SIDE = 1 / math.sqrt(1 + math.pi / 4)
# From the square's middle towards its upper corner: where the heart's centroid is.
_LIFT = _SIDE**3 * math.pi / 8 * math.sqrt(2.0) * (1 + 4 / (3 * math.pi)) / 2


def _heart(u: Array, v: Array) -> NDArray[np.bool_]:
    """The tip points down, as v does."""
    up = _LIFT - v
    # Axes along the square's upper sides, from its middle.
    p, q = (u + up) / math.sqrt(2.0), (up - u) / math.sqrt(2.0)
    half = _SIDE / 2
    square = (np.abs(p) <= half) & (np.abs(q) <= half)
    discs = ((p - half) ** 2 + q**2 <= half**2) | (p**2 + (q - half) ** 2 <= half**2)
    return square | discs


# Largest distance from the centroid at scale 1: corner, end of the long axis, tip of the heart.
_RADIUS = np.array(
    [
        math.hypot(math.sqrt(_ASPECT), 1 / math.sqrt(_ASPECT)) / 2,
        math.sqrt(_ASPECT / math.pi),
        _SIDE / math.sqrt(2.0) + _LIFT,
    ]
)
