"""Figures of codes and factors: information between them, and measured traversals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_mivae.plotting import style

MOST_NUMBERS = 40
"""Numbers that a figure writes out; those of a larger table are for a table."""
GAP, HEAD = 6, 0.35
"""Pixels between rows of images 28 high; inches of the titles."""

COLOURS = [*style.PAIR, *style.OTHERS, "#332288", "#882255"]


def mi_matrices(
    matrices: Mapping[str, NDArray[Any]],
    *,
    codes: Sequence[str],
    factors: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Draws the information between codes and factors, a panel a model, one scale for all.

    Where there are more than 40 numbers, only that of each factor's strongest code is written out.

    Args:
        matrices: Information in nats, (codes, factors), by title.
        codes: Names of the rows, ``c[3]`` for dimension 3 of c.
        factors: Names of the columns.
        columns: Number of panels side by side.

    Raises:
        ValueError: If there is no matrix, or one does not fit the names.
    """
    expected = (len(codes), len(factors))
    if not matrices:
        raise ValueError("matrices: expected at least one, found none")
    for title, values in matrices.items():
        if values.shape != expected:
            raise ValueError(f"matrices[{title!r}]: expected {expected}, found {values.shape}")
    columns = min(columns, len(matrices))
    lines = -(-len(matrices) // columns)
    # Names that are wider than their cell stand upright.
    cell = (style.WIDTH - 1.2) / columns / expected[1]
    upright = max(map(len, factors)) * 0.08 > cell
    below = 0.08 * max(map(len, factors)) if upright else 0.2
    figure = style.new_figure((0.22 * expected[0] + 0.5) * lines + below)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(matrices) :]:
        axes.set_visible(False)
    top = max(0.01, *(float(values.max()) for values in matrices.values()))
    all_numbers = len(matrices) * expected[0] * expected[1] <= MOST_NUMBERS
    for number, (title, values) in enumerate(matrices.items()):
        axes = panels[number]
        image = style.heat_map(
            axes,
            values,
            columns=factors,
            rows=[style.tex(name) for name in codes],
            top=top,
            texts=style.numbers(values, -np.inf if all_numbers else values.max(0)),
        )
        lowest = number + columns >= len(matrices)
        axes.tick_params(axis="x", rotation=90 * upright, labelbottom=lowest)
        axes.set_title(textwrap.fill(title, int(cell * expected[1] / 0.075)), fontsize=style.SMALL)
    bar = figure.colorbar(image, ax=panels[: len(matrices)])
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.set_label("nats", fontsize=style.MEDIUM)
    return figure


def measured_traversals(
    images: NDArray[Any],
    measured: NDArray[Any],
    *,
    names: Sequence[str],
    labels: Sequence[str],
) -> Figure:
    """Draws traversals, and beside each row how its measurements change along it.

    A measurement has one scale for all rows; its values at both ends of a row are written out.

    Args:
        images: Images in [0, 1], (rows, steps, height, width).
        measured: Measurements, (rows, steps, names); NaN where there is none.
        names: Names of the measurements, with units.
        labels: Labels of the rows, ``c[3]`` for dimension 3 of c.

    Raises:
        ValueError: If shapes do not fit.
    """
    lead = images.shape[:2]
    if images.ndim != 4 or measured.shape != (*lead, len(names)) or len(labels) != lead[0]:
        raise ValueError(
            "expected images (rows, steps, height, width), what was measured (rows, steps, names) "
            f"and a label for each row, found {images.shape}, {measured.shape} of {len(names)} "
            f"names and {len(labels)} labels"
        )
    rows, steps, height, width = images.shape
    # One image of all tiles: an axes for each would take seconds.
    tiles = np.pad(images, ((0, 0), (0, 0), (0, GAP * height // 28), (0, max(1, width // 14))))
    tall, wide = tiles.shape[2:]
    canvas = tiles.transpose(0, 2, 1, 3).reshape(rows * tall, steps * wide)
    # Places in inches, so that the tiles keep their shape and the lines stand beside them.
    left, right = 0.4, 0.95 * len(names) + 0.1
    across = style.WIDTH - left - right
    down = across * rows * tall / (steps * wide)
    figure = Figure(figsize=(style.WIDTH, down + HEAD))

    def place(x: float, width: float) -> Axes:
        box = (x / style.WIDTH, 0.05 / (down + HEAD), width / style.WIDTH, down / (down + HEAD))
        axes = figure.add_axes(box)
        axes.set(ylim=(rows * tall, 0), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    axes = place(left, across)
    shown: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    axes.imshow(canvas, extent=(0, steps * wide, rows * tall, 0), aspect="auto", **shown)
    axes.set_yticks(np.arange(rows) * tall + height / 2, [style.tex(name) for name in labels])
    axes.tick_params(length=0, labelsize=style.LARGE)
    for number, name in enumerate(names):
        beside = place(left + across + 0.1 + 0.95 * number, 0.85)
        _draw_changes(beside, measured[:, :, number], tall, height)
        beside.set_title(name, fontsize=style.SMALL)
    return figure


def _draw_changes(axes: Axes, values: NDArray[Any], tall: int, height: int) -> None:
    """Draws a measurement (rows, steps) over the steps, each row beside its images."""
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    shares = (values - low) / max(float(high - low), 1e-9)
    steps = np.arange(values.shape[1])
    for row, share in enumerate(shares):
        # Below the numbers, which take the upper third.
        line = row * tall + height * (0.95 - 0.5 * share)
        axes.plot(steps, line, color=style.PAIR[0], lw=1.5, marker="o", ms=2)
        ends = [values[row, 0], values[row, -1]]
        texts = [style.number(v) if np.isfinite(v) else "–" for v in ends]
        for step, text, side in zip(steps[[0, -1]], texts, ("left", "right"), strict=True):
            axes.text(step, row * tall, text, ha=side, va="top", fontsize=style.TINY)
        axes.axhline((row + 1) * tall - (tall - height) / 2, color=style.PALE, lw=0.8)
    axes.set_xlim(-0.3, steps[-1] + 0.3)
