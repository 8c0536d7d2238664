r"""Area, length, thickness, slant, width and height of handwritten strokes.

The measurements are those of Morpho-MNIST (Castro, Tan, Kainz, Konukoglu and Glocker,
*Morpho-MNIST: Quantitative Assessment and Diagnostics for Representation Learning*, JMLR 20, 2019).
An image is enlarged four times by cubic splines and smoothed, as
``skimage.transform.pyramid_expand(image, 4, order=3)`` does, and rounded to 8 bits. Ink is what is
at least as dark as the middle between its lightest and its darkest pixel. With the skeleton of the
ink, the distance of each pixel of it to the paper, and the grey values' central moments :math:`u`
(x to the right, y downwards):

- *area*: pixels of ink;
- *length*: steps of the skeleton, 1 or :math:`\sqrt 2`;
- *thickness*: twice the mean distance on the skeleton;
- *slant*: :math:`\arctan(-u_{11}/u_{02})`, positive where the strokes lean to the right;
- *width*: the central 98 % of the grey values, in x after the slant is taken out;
- *height*: the central 98 % in y.

Two parts differ from Morpho-MNIST's program. The skeleton is that of Zhang and Suen (1984), which
is faster than the medial axis and has fewer spurs; and values are rounded to 8 bits, not cut.
Numbers of the two programs must not be mixed in one table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pyro_mivae.extras import extra
from pyro_mivae.progress import Progress

__all__ = ["UNITS", "VERSION", "measure"]

UNITS = {
    "area": "px^2",
    "length": "px",
    "thickness": "px",
    "slant": "rad",
    "width": "px",
    "height": "px",
}
"""What is measured, and the unit of each; px is a pixel of the image that was given."""

VERSION = 1
"""Version of the definitions: measurements of different versions are not comparable."""

ZOOM = 4
"""Pixels of the enlarged image to one of the image."""

_FAINTEST = 26  # grey levels between the darkest and the lightest pixel: a tenth of full contrast
_BATCH = 128  # images at a time: some 10 MB for each array of enlarged ones

Array = NDArray[np.float64]


def measure(images: Tensor | NDArray[Any], *, progress: bool = False) -> xr.Dataset:
    """Measures images, in the same way whether they are real or generated.

    Args:
        images: Images, (N, H, W), uint8 from 0 (paper) to 255 (ink), or floating point from 0 to 1.
            Floating point is rounded to uint8 first: generated images would be measured
            differently otherwise.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Returns:
        ``area``, ``length``, ``thickness``, ``slant``, ``width`` and ``height``, float64 of
        dimension ``image``, each with its ``units``. An image that can't be measured has NaN in all
        of them, and the attribute ``unmeasured`` says how many have: those that are blank (of less
        than a tenth of full contrast after the enlargement), that have a pixel that is not finite,
        or whose ink has no skeleton.

    Raises:
        TypeError: If `images` are neither uint8 nor floating point.
        ValueError: If they are not (N, H, W) of at least 4 by 4 pixels, or outside of 0 to 1.
    """
    grey = _to_uint8(images)
    values = np.full((len(UNITS), len(grey)), np.nan)
    with Progress("strokes", len(grey), "images", shown=progress) as bar:
        for start in range(0, len(grey), _BATCH):
            rows = slice(start, start + _BATCH)
            values[:, rows] = _measure(grey[rows])
            bar.update(len(grey[rows]))
    values[:, np.isnan(values).any(0)] = np.nan
    variables = {
        name: ("image", row, {"units": unit})
        for (name, unit), row in zip(UNITS.items(), values, strict=True)
    }
    unmeasured = int(np.isnan(values[0]).sum())
    return xr.Dataset(variables, attrs={"unmeasured": unmeasured, "version": VERSION})


def enlarge(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarges images four times and smooths them, as scikit-image's ``pyramid_expand`` does.

    Args:
        images: Images, (N, H, W).

    Returns:
        Enlarged images, (N, 4 H, 4 W).
    """
    x = images / 255.0
    (zoom_y, smooth_y), (zoom_x, smooth_x) = (_operators(size) for size in images.shape[1:])
    zoomed = zoom_y @ x @ zoom_x.T
    # Splines overshoot; scikit-image cuts that off.
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    smooth = smooth_y @ np.clip(zoomed, low, high) @ smooth_x.T
    return np.rint(255.0 * smooth).astype(np.uint8)


@lru_cache(maxsize=8)
def _operators(size: int) -> tuple[Array, Array]:
    """Zoom and smoothing of one dimension as matrices: both are separable, and linear."""
    zoom = ndimage.zoom(np.eye(size), (ZOOM, 1), order=3, mode="mirror", grid_mode=True)
    smooth = ndimage.gaussian_filter1d(np.eye(ZOOM * size), 2 * ZOOM / 6, axis=0, mode="reflect")
    return zoom, smooth


def _to_uint8(images: Tensor | NDArray[Any]) -> NDArray[np.uint8]:
    """The images, blank where one is not finite."""
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = (images.double() if images.dtype.is_floating_point else images).numpy()
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            f"images: expected uint8, 0 to 255, or floating point, 0 to 1, found {images.dtype}"
        )
    if images.ndim != 3 or min(images.shape[1:]) < 4:
        raise ValueError(
            f"images: expected (N, H, W) of at least 4 by 4 pixels, found {images.shape}; drop a "
            "channel by images[:, 0], give one image as images[None]"
        )
    if images.dtype == np.uint8:
        return images
    finite = np.isfinite(images).all((1, 2))
    # In one precision: near the middle of two grey levels products of fewer bits round otherwise.
    images = np.where(finite[:, None, None], images, 0.0).astype(np.float64)
    if images.size and not 0.0 <= images.min() <= images.max() <= 1.0:
        raise ValueError(
            "images: expected floating point from 0 (paper) to 1 (ink), found "
            f"{images.min():.4g} to {images.max():.4g}; divide by 255, or take logits' sigmoid"
        )
    return np.rint(255.0 * images).astype(np.uint8)


def skeletons(images: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """Yields the skeleton (4 H, 4 W) of each enlarged image, empty where there is none.

    Args:
        images: Images, uint8 (N, H, W).
    """
    for start in range(0, len(images), _BATCH):
        _, ink, visible = _ink(images[start : start + _BATCH])
        for image, seen in zip(ink, visible, strict=True):
            yield _skeleton(image) if seen else np.zeros_like(image)


def _skeleton(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The skeleton of ink, by Zhang and Suen (1984)."""
    with extra("digits"):
        from skimage.morphology import skeletonize
    skeleton: NDArray[np.bool_] = skeletonize(ink)
    return skeleton


def _ink(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Enlarged images, their ink, and which (N,) are not blank."""
    large = enlarge(images)
    low, high = (extreme((1, 2)).astype(np.int16) for extreme in (large.min, large.max))
    ink = 2 * large.astype(np.int16) >= (low + high)[:, None, None]
    return large, ink, high - low >= _FAINTEST


def _measure(images: NDArray[np.uint8]) -> Array:
    """(6, N), with NaN in at least one row of what can't be measured."""
    large, ink, visible = _ink(images)
    values = np.full((len(UNITS), len(images)), np.nan)
    if visible.any():
        strokes = np.array([_stroke(image) for image in ink[visible]]).T
        spread = _spread(large[visible].astype(np.float64))
        values[:, visible] = [ink[visible].sum((1, 2)) / ZOOM**2, *strokes, *spread]
    return values


def _stroke(ink: NDArray[np.bool_]) -> tuple[float, float]:
    """Length and thickness of ink, NaN where nothing is left of it as a skeleton."""
    # Within the ink's frame, one pixel of paper around it where there is paper, both are the same.
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    frame = ink[_around(rows), _around(columns)]
    skeleton = _skeleton(frame)
    if not skeleton.any():
        return math.nan, math.nan
    distance = ndimage.distance_transform_edt(frame)
    return steps(skeleton) / ZOOM, 2.0 * float(distance[skeleton].mean()) / ZOOM


def _around(index: NDArray[np.intp]) -> slice:
    return slice(max(int(index[0]) - 1, 0), int(index[-1]) + 2)


def steps(skeleton: NDArray[np.bool_]) -> float:
    """Measures a skeleton's length: 1 for a step to the side, sqrt 2 for a diagonal one."""
    k = skeleton
    straight = np.count_nonzero(k[1:] & k[:-1]) + np.count_nonzero(k[:, 1:] & k[:, :-1])
    falling = k[1:, 1:] & k[:-1, :-1]
    rising = k[1:, :-1] & k[:-1, 1:]
    diagonal = np.count_nonzero(falling) + np.count_nonzero(rising)
    return straight + math.sqrt(2.0) * diagonal


def _spread(grey: Array) -> Iterator[Array]:
    """Slant, width and height of enlarged images, each (N,)."""
    y, x = (np.arange(float(size)) for size in grey.shape[1:])
    # Sums of whole numbers are exact in any order, so that a batch's size changes no bit.
    mass, by_row = grey.sum((1, 2)), grey.sum(2)
    middle_x, middle_y = grey.sum(1) @ x / mass, by_row @ y / mass
    u02 = by_row @ y**2 / mass - middle_y**2
    u11 = grey @ x @ y / mass - middle_x * middle_y
    shear = u11 / u02
    yield np.arctan(-shear)
    # Pixel x is the interval [x, x + 1); it goes as a whole to the cell in which its middle lies.
    place = x + 0.5 - (shear[:, None] * (y - middle_y[:, None]))[:, :, None]
    cell = np.floor(place).astype(np.int64)
    cell -= cell.min()
    span = int(cell.max()) + 1
    index = cell + span * np.arange(len(grey))[:, None, None]
    sheared: Array = np.bincount(index.ravel(), grey.ravel(), span * len(grey)).astype(np.float64)
    yield _central(sheared.reshape(len(grey), span)) / ZOOM
    yield _central(by_row) / ZOOM


def _central(mass: Array, outside: float = 0.02) -> Array:
    """Length of the middle of each row's mass, which is even within a cell."""
    cumulative = np.cumsum(mass, 1) / mass.sum(1, keepdims=True)
    rows = np.arange(len(mass))
    (first, left), (last, right) = (
        _quantile(cumulative, rows, share) for share in (outside / 2, 1 - outside / 2)
    )
    # Whole cells apart from parts of them: where the first cell lies changes no bit.
    length: Array = (last - first) + (right - left)
    return length


def _quantile(cumulative: Array, rows: NDArray[np.intp], share: float) -> tuple[Any, Array]:
    """The cell in which each row reaches a share, and the part of the cell before it does."""
    cell = np.argmax(cumulative >= share, axis=1)
    below = np.where(cell > 0, cumulative[rows, cell - 1], 0.0)
    return cell, (share - below) / (cumulative[rows, cell] - below)
