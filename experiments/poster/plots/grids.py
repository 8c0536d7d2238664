"""The poster's Figure 5: images between a dimension of the code and one of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_mivae.plotting import style


def latent_grid(
    images: NDArray[Any],
    *,
    first: Sequence[float],
    second: Sequence[float],
    labels: tuple[str, str] = ("c", "z"),
) -> Figure:
    """Draws images where one code dimension moves down and one noise dimension across: Figure 5.

    Args:
        images: Mean images in [0, 1], (n, m, height, width).
        first: Values, n of them, of the dimension of the rows.
        second: Values, m of them, of the dimension of the columns.
        labels: Names of the two dimensions, ``c[3]`` for dimension 3 of c.

    Raises:
        ValueError: If shapes do not fit or images are not in [0, 1].
    """
    _check_images(images, 4, (len(first), len(second)))
    down, across = map(style.tex, labels)
    figure, axes = style.mosaic(images, f"{down} moves down, {across} across, all else stays")
    axes.set_yticklabels([style.number(value) for value in first])
    axes.set_xticklabels([style.number(value) for value in second])
    axes.set_ylabel(f"value of {down}", fontsize=style.LARGE)
    axes.set_xlabel(f"value of {across}", fontsize=style.LARGE)
    return figure


def latent_grid_sheet(
    grids: NDArray[Any],
    *,
    first: Sequence[float],
    second: Sequence[float],
    labels: tuple[str, str] = ("c", "z"),
) -> Figure:
    """Draws the grid of :func:`latent_grid` for every pair of dimensions, on one sheet.

    Args:
        grids: Mean images in [0, 1], (C, Z, n, m, height, width).
        first: Values, n of them, that each of the C dimensions takes.
        second: Values, m of them, that each of the Z dimensions takes.
        labels: Names of the two sites.

    Raises:
        ValueError: If shapes do not fit or images are not in [0, 1].
    """
    _check_images(grids, 6, (len(first), len(second)))
    rows, columns, down, across, height, width = grids.shape
    # A tile's own gap is pale, the gap between grids white.
    pale = 1 - to_rgb(style.PALE)[0]
    tiles = np.pad(grids, (*[(0, 0)] * 4, (1, 0), (1, 0)), constant_values=pale)
    blocks = tiles.transpose(0, 1, 2, 4, 3, 5)
    blocks = blocks.reshape(rows, columns, down * (height + 1), across * (width + 1))
    blocks = np.pad(blocks, (*[(0, 0)] * 2, (0, 1), (0, 1)), constant_values=pale)
    gap = max(height, width) // 2
    blocks = np.pad(blocks, (*[(0, 0)] * 2, (0, gap), (0, gap)), constant_values=0)
    tall, wide = blocks.shape[2:]
    canvas = blocks.transpose(0, 2, 1, 3).reshape(rows * tall, columns * wide)[:-gap, :-gap]
    inches = min((style.WIDTH - 0.6) / canvas.shape[1], 0.6 / width)
    figure = style.new_figure(inches * canvas.shape[0] + 1.1)
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="antialiased")
    code, noise = labels
    axes.set_xticks(np.arange(columns) * wide + (wide - gap) / 2)
    axes.set_yticks(np.arange(rows) * tall + (tall - gap) / 2)
    axes.set_xticklabels([style.tex(f"{noise}[{d}]") for d in range(columns)])
    axes.set_yticklabels([style.tex(f"{code}[{d}]") for d in range(rows)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=style.LARGE)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"A dimension of {code} against one of {noise}, all else stays", fontsize=style.LARGE
    )
    ends = [f"{style.number(v[0])} to {style.number(v[-1])}" for v in (first, second)]
    note = (
        f"In each grid {code} goes from {ends[0]} downwards,\n{noise} from {ends[1]} to the right"
    )
    axes.set_xlabel(note, fontsize=style.MEDIUM)
    return figure


def _check_images(images: NDArray[Any], ndim: int, values: tuple[int, int]) -> None:
    if images.ndim != ndim or images.shape[-4:-2] != values:
        lead = "(C, Z, " if ndim == 6 else "("
        raise ValueError(
            f"expected images of shape {lead}{values[0]}, {values[1]}, height, width) for "
            f"{values[0]} and {values[1]} values, found {tuple(images.shape)}"
        )
    if images.size == 0:
        raise ValueError("there is no image to draw: expected at least one value of each dimension")
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    if low < 0 or high > 1:
        raise ValueError(f"expected images in [0, 1], found values from {low:g} to {high:g}")
