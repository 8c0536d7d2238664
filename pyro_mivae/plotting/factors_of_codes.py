"""Figures of codes and factors: information between them, and measured traversals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_mivae.plotting import style

COLOURS = [*style.PAIR, *style.OTHERS, "#332288", "#882255"]


def mi_matrices(
    matrices: Mapping[str, NDArray[Any]],
    *,
    codes: Sequence[str],
    factors: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Draws the information between codes and factors, a panel a model, one scale for all.

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
    size = ((1.25 * expected[1] + 1.6) * columns + 1.0, (0.5 * expected[0] + 1.4) * lines)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels[len(matrices) :]:
        axes.set_visible(False)
    top = max(0.01, *(float(values.max()) for values in matrices.values()))
    for axes, (title, values) in zip(panels, matrices.items(), strict=False):
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > 0.6 * top else style.INK
            centred: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
            axes.text(column, row, style.number(value), fontsize=style.SMALL, **centred)
        axes.set_xticks(range(expected[1]), factors, fontsize=style.SMALL)
        axes.set_yticks(range(expected[0]), [style.tex(name) for name in codes])
        axes.tick_params(length=0, labelsize=style.SMALL)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=style.MEDIUM)
    bar = figure.colorbar(image, ax=panels[: len(matrices)])
    bar.set_label("nats", fontsize=style.MEDIUM)
    return figure


def measured_traversals(
    images: NDArray[Any],
    measured: NDArray[Any],
    *,
    names: Sequence[str],
    labels: Sequence[str],
) -> Figure:
    """Draws traversals, with measurements under each image.

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
    below = int(np.ceil((0.17 * len(names) + 0.15) * height))
    tiles = np.pad(images, ((0, 0), (0, 0), (0, below), (0, max(1, width // 14))))
    tall, wide = tiles.shape[2:]
    canvas = tiles.transpose(0, 2, 1, 3).reshape(rows * tall, steps * wide)
    size = (1.05 * steps + 1.2, 1.05 * rows * tall / wide + 0.6)
    figure = Figure(figsize=(max(size[0], 6.0), size[1]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    below_image: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": style.SMALL}
    for row, step in np.ndindex(rows, steps):
        left, top = step * wide - 0.5, row * tall - 0.5
        frame = [
            (left, top),
            (left + width, top),
            (left + width, top + height),
            (left, top + height),
        ]
        axes.plot(*zip(*frame, frame[0], strict=True), color=style.PALE, lw=0.8)
        values = measured[row, step]
        text = "\n".join(style.number(v) if np.isfinite(v) else "–" for v in values)
        axes.text(left + width / 2, top + height + 0.05 * height, text, **below_image)
    axes.set_xlim(-1, steps * wide)
    axes.set_ylim(rows * tall, -1)
    axes.set_xticks([])
    axes.set_yticks(np.arange(rows) * tall + height / 2, [style.tex(name) for name in labels])
    axes.tick_params(length=0, labelsize=style.LARGE)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("under each image: " + ", ".join(names), fontsize=style.SMALL)
    return figure
