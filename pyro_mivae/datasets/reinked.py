r"""Re-inked digits: real digits redrawn with a chosen thickness and slant.

A digit's skeleton is sheared until its ink has the chosen slant, with a pen of the chosen
thickness drawn along it. Thickness, slant and the source digit are then independent by
construction, whatever their laws. In MNIST they depend on each other.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.checks import check_all, check_draws, check_seed
from pyro_mivae.datasets.cache import cached, fingerprint
from pyro_mivae.datasets.digits import Digits, Split
from pyro_mivae.datasets.factored import (
    FactorData,
    FactorSplit,
    make_split,
    pick,
    streams,
)
from pyro_mivae.datasets.laws import Law, draw

__all__ = ["REINK_VERSION", "reink", "reinked_digits"]

REINK_VERSION = 1
"""Version of the drawing, a part of the key under which drawn images are cached."""

_THINNEST, _STEEPEST = 0.5, 1.4
_MARGIN = 1.0  # pixels of paper that stay around the ink

Array = NDArray[np.float64]


def reinked_digits(
    digits: Digits,
    *,
    thickness: Law,
    slant: Law,
    num_train: int = 60_000,
    num_test: int = 10_000,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    name: str = "reinked",
) -> FactorData:
    """Redraws digits with independent thickness and slant.

    Training images are made of the digits' training split, test images of their test split. The
    splits' images are taken in random order, each as often as any other or once more.

    Args:
        digits: Digits to redraw.
        thickness: Law of the pen's diameter in pixels, within 0.5 to a third of the image.
        slant: Law of the slant in radians, positive to the right, within -1.4 to 1.4.
        num_train: Number of training images.
        num_test: Number of test images.
        seed: Seed of the order and of all draws. Two data sets that differ in one law only share
            everything else.
        cache_dir: Folder in which the drawn images are kept; by default ``~/.cache/pyro_mivae``
            (``XDG_CACHE_HOME`` counts).
        name: Name of the data set.

    Returns:
        With the factors ``thickness`` (px) and ``slant`` (rad), as they were set.

    Raises:
        ValueError: If a law leaves its range.
    """
    check_all(
        {"num_train": num_train, "num_test": num_test, "seed": seed},
        {"num_train": check_draws, "num_test": check_draws, "seed": check_seed},
    )

    def make(split: Split, number: int, part: str) -> FactorSplit:
        order, pen, lean = streams(seed, *(f"reinked/{part}/{n}" for n in ("order", "pen", "lean")))
        sources = pick(number, len(split), order)
        t, s = draw(thickness, number, pen), draw(slant, number, lean)
        sources_images = split.images[sources].numpy()
        key = fingerprint(REINK_VERSION, sources_images, t, s)
        images = cached(
            "reinked", key, lambda: {"images": reink(sources_images, t, s)}, folder=cache_dir
        )["images"]
        factors = {"thickness": (t, "px"), "slant": (s, "rad")}
        return make_split(images, split.labels[sources], factors, sources)

    return FactorData(
        name,
        f"{digits.name} redrawn along its skeletons, seed {seed}. {digits.source}",
        {"thickness": thickness, "slant": slant},
        train=make(digits.train.to("cpu"), num_train, "train"),
        test=make(digits.test.to("cpu"), num_test, "test"),
    )


def reink(images: NDArray[np.uint8], thickness: Array, slant: Array) -> NDArray[np.uint8]:
    """Redraws images with chosen thickness and slant.

    The ink at the middle of a pixel is :math:`t/2 + 1/2 - d`, cut to 0 to 1, with the thickness t
    and the distance d to the skeleton: across a stroke it sums to t. A drawing that would leave
    the image is made smaller. Its centroid is put into the image's middle, as MNIST's is, or as
    close as the margin allows. An image without a skeleton stays blank.

    Args:
        images: uint8 (N, H, W), 0 (paper) to 255 (ink).
        thickness: (N,), diameter of the pen in pixels.
        slant: (N,), in radians, positive to the right, of the ink's moments.

    Returns:
        uint8 (N, H, W).

    Raises:
        ValueError: If a thickness is below 0.5 pixels or above a third of the image, or a slant
            above 1.4 either way.
    """
    thickest = min(images.shape[1:]) / 3
    if len(images) and not _THINNEST <= thickness.min() <= thickness.max() <= thickest:
        raise ValueError(
            f"thickness: expected {_THINNEST} to {thickest:.4g} pixels, found "
            f"{thickness.min():.4g} to {thickness.max():.4g}; give the law a reach"
        )
    if len(images) and not np.abs(slant).max() <= _STEEPEST:
        raise ValueError(
            f"slant: expected -{_STEEPEST} to {_STEEPEST} radians, found {slant.min():.4g} to "
            f"{slant.max():.4g}; give the law a reach"
        )
    from pyro_mivae.morphometry import ZOOM, skeletons  # slow, and not every program draws

    drawn = np.zeros_like(images)
    drawings = zip(skeletons(images), thickness, slant, drawn, strict=True)
    for skeleton, t, s, out in drawings:
        rows, columns = np.nonzero(skeleton)
        if len(rows):
            points = (np.stack([columns, rows], 1) + 0.5) / ZOOM
            points, lean = points - points.mean(0), math.tan(s)
            change = lean - _lean(points, np.ones(len(points)))
            # Where strokes cross, and at their ends, ink has other moments than its skeleton: what
            # the first drawing leans too much or too little is made up for in the second.
            for _ in range(2):
                sheared = points - change * points[:, ::-1] * (1, 0)
                grey = _ink(_place(sheared, t, out.shape), t, out.shape)
                change += lean - _lean(_pixels(*out.shape)[:, :2], grey)
            out[...] = grey.reshape(out.shape)
    return drawn


def _lean(points: Array, mass: NDArray[Any]) -> float:
    """The tangent of the slant of points (P, 2), x and y, each with a mass."""
    x, y = (points - mass @ points / mass.sum()).T
    u02 = mass @ y**2
    return float(-(mass @ (x * y)) / u02) if u02 > 0 else 0.0


def _place(points: Array, thickness: float, shape: tuple[int, ...]) -> Array:
    """Points around (0, 0) put into an image so that the pen's ink stays in it."""
    sides = np.array(shape[::-1], np.float64)
    edge = _MARGIN + thickness / 2
    room = sides - 2 * edge
    points = points * min(1.0, *(room / np.maximum(np.ptp(points, axis=0), 1e-9)))
    low, high = points.min(0), points.max(0)
    return points + np.clip(sides / 2, edge - low, sides - edge - high)


def _ink(points: Array, thickness: float, shape: tuple[int, ...]) -> Array:
    """Whole grey values (H W,) of a pen's way."""
    pixels = _pixels(*shape)
    # |pixel|^2 - 2 pixel . point + |point|^2, of which BLAS makes the last two terms.
    others = np.stack([-2 * points[:, 0], -2 * points[:, 1], (points**2).sum(1)])
    squared = (pixels @ others).min(1) + (pixels[:, :2] ** 2).sum(1)
    distance = np.sqrt(np.maximum(squared, 0.0))
    grey: Array = np.rint(255.0 * np.clip(thickness / 2 + 0.5 - distance, 0.0, 1.0))
    return grey


@lru_cache(maxsize=4)
def _pixels(height: int, width: int) -> Array:
    """(H W, 3): x and y of the middle of each pixel, and 1."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x.ravel(), y.ravel(), np.ones(height * width)], 1)
