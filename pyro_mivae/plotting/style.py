"""Parts of the figures: sizes, colours, axes, curves, heat maps and mosaics.

A figure is drawn for the width at which a page shows it, :data:`WIDTH`, so that its text has the
size that is set here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from pyro_mivae.runs.history import History

WIDTH, DPI = 7.36, 200
"""Inches and pixels to the inch: 736 pixels wide on a page, twice as fine for sharp screens."""
LARGE, MEDIUM, SMALL, TINY = 11, 10, 9.5, 8
"""Points of titles, labels, ticks and numbers in cells; 6.5 are 9 pixels of a page."""

# Okabe and Ito's colours, and Tol's "muted": both are told apart by the colour-blind.
PAIR = ["#0072B2", "#D55E00"]
SITES = {"c": ("code c", PAIR[0]), "z": ("noise z", PAIR[1]), "d": ("category d", "#CC79A7")}
OTHERS = ["#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
CLASSES = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77"]
CLASSES += ["#CC6677", "#882255", "#AA4499", "#888888"]
INK, GREY, PALE = "#222222", "#999999", "#DDDDDD"
DASHES: dict[str, Any] = {
    "mean": "--",
    "sample": ":",
    "straight-through": "-.",
    "sleep": (0, (5, 1, 1, 1, 1, 1)),
}
# A channel's own colour and marker, where no site has one.
CHANNELS = {
    "mean": (OTHERS[0], "o"),
    "sample": (OTHERS[1], "s"),
    "straight-through": (OTHERS[2], "D"),
    "sleep": (OTHERS[3], "^"),
    "none": (INK, "v"),
}
SHADES = {"mean": 0.4, "sample": 1.0, "straight-through": 0.8, "sleep": 0.6}
MARKERS = "osD^vPX*"
# Of a figure's legend: below all axes, where it hides nothing.
OUTSIDE: dict[str, Any] = {"loc": "outside lower center", "fontsize": MEDIUM}
OUTSIDE |= {"frameon": False, "title_fontsize": SMALL}


def new_figure(height: float) -> Figure:
    """Makes an empty figure of the width at which pages show it; the height is in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def luminance(colour: Any) -> float:
    """Computes the relative luminance of a colour, from 0 for black to 1 for white (WCAG 2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: Any, other: Any) -> float:
    """Computes the contrast of two colours, from 1 to 21; text needs 4.5 (WCAG 2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(colour: Any) -> str:
    """Picks black or white for text on a colour; the better has a contrast of at least 4.58."""
    return max(("black", "white"), key=lambda ink: contrast(ink, colour))


def shade(colour: str, channel: str) -> tuple[float, float, float]:
    """Mixes a colour with white, by channel: opaque, so that no grid shines through."""
    red, green, blue = (1 - SHADES[channel] * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def darker(colour: str) -> tuple[float, float, float]:
    """Mixes a colour with black, for text."""
    red, green, blue = (0.6 * part for part in to_rgb(colour))
    return red, green, blue


def number(value: float, digits: int = 2) -> str:
    """Writes a number with a true minus, and with none before 0.00."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def numbers(values: NDArray[Any], least: Any = -np.inf) -> NDArray[np.str_]:
    """Writes the numbers of a matrix from `least` up, "" for the others and for NaN."""
    shown = (values >= least).flat
    texts = [number(v) if write else "" for v, write in zip(values.flat, shown, strict=True)]
    return np.array(texts).reshape(values.shape)


def tex(name: str) -> str:
    """Writes a dimension's name as mathematics, ``c[3]`` with the 3 below; other names as text."""
    match = re.fullmatch(r"([A-Za-z]+)(?:\[(\d+)\])?", name)
    if match is None:
        return name.replace("$", r"\$")
    site, index = match.groups()
    return f"${site}_{{{index}}}$" if index else f"${site}$"


def curve(
    axes: Axes,
    history: History,
    split: str,
    terms: Mapping[str, int],
    label: str,
    colour: str,
    dash: Any,
) -> None:
    """Draws a sum of columns with their signs, if rows of the split have them all."""
    rows = [r for r in history.rows if r["split"] == split and terms.keys() <= r.keys()]
    if rows:
        steps = [int(r["step"]) for r in rows]
        sums = [sum(sign * float(r[c]) for c, sign in terms.items()) for r in rows]
        marker = "o" if len(rows) <= 20 else None
        axes.plot(steps, sums, ls=dash, color=colour, label=label, lw=1.5, marker=marker, ms=3)


def skip_start(axes: Axes, share: float = 0.1) -> None:
    """Fits the range of the values to the lines without their first steps.

    A training falls by hundreds of nats in its first steps, beside which nothing of the rest shows.
    What lies beyond the range is cut off.

    Args:
        axes: Axes with lines over steps.
        share: Share of the steps that don't count.
    """
    points = np.concatenate([np.empty((0, 2)), *(line.get_xydata() for line in axes.lines)])
    points = points[np.isfinite(points).all(1)]
    if len(points):
        first, last = points[:, 0].min(), points[:, 0].max()
        values = points[points[:, 0] >= first + share * (last - first), 1]
        low, high = float(values.min()), float(values.max())
        room = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)


def finish(axes: Axes, title: str, xlabel: str = "", ylabel: str = "") -> None:
    """Finishes axes with a title, labels, a pale grid and no box."""
    axes.set_title(title, fontsize=LARGE)
    axes.set_xlabel(xlabel, fontsize=MEDIUM)
    axes.set_ylabel(ylabel, fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(axes: Axes, height: float = -0.2, columns: int = 1) -> None:
    """Draws a legend below the axes, where it hides nothing, from `height` axes down."""
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, height)}
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**place, ncols=columns, fontsize=SMALL, frameon=False)


def heat_map(
    axes: Axes,
    values: NDArray[Any],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    top: float,
    cmap: str = "Blues",
    texts: NDArray[np.str_] | None = None,
) -> AxesImage:
    """Draws a matrix in colours from 0 up, with numbers that are readable on them.

    Args:
        axes: Axes to draw in.
        values: Matrix, (rows, columns); NaN stays pale.
        columns: Names of the columns.
        rows: Names of the rows.
        top: Value of the darkest colour.
        cmap: Name of Matplotlib's colour map.
        texts: Text of each cell, (rows, columns), for example by :func:`numbers`.
    """
    axes.set_facecolor(PALE)
    image = axes.imshow(values, cmap=cmap, vmin=0, vmax=top, aspect="auto")
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": TINY}
    for (row, column), text in np.ndenumerate(np.empty((0, 0), str) if texts is None else texts):
        if text:
            value = values[row, column]
            behind = image.cmap(image.norm(value)) if np.isfinite(value) else PALE
            axes.text(column, row, text, color=ink_on(behind), **centred)
    axes.set_xticks(range(len(columns)), list(columns), fontsize=SMALL)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=SMALL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def mosaic(images: NDArray[Any], title: str) -> tuple[Figure, Axes]:
    """Tiles images in [0, 1]; ticks are at the tiles' centres.

    Grey images, (rows, columns, height, width), have 0 in white and 1 in black. Of images with
    planes, (rows, columns, planes, height, width), three are red, green and blue; other numbers of
    planes are drawn in grey, side by side. Tiles of NaN, and the gaps, are pale.
    """
    num_wide = 1 if images.ndim == 4 or images.shape[2] == 3 else images.shape[2]
    images = _beside(images)
    rows, columns, *planes, height, width = images.shape
    around = ((0, 0),) * (images.ndim - 2)
    tiles = np.pad(images, (*around, (1, 0), (1, 0)), constant_values=np.nan)
    # Each of (planes, rows, height, columns, width) in turn.
    order = (*range(2, 2 + len(planes)), 0, tiles.ndim - 2, 1, tiles.ndim - 1)
    canvas = tiles.transpose(order).reshape(*planes, rows * (height + 1), columns * (width + 1))
    canvas = np.pad(canvas, ((0, 0),) * len(planes) + ((0, 1), (0, 1)), constant_values=np.nan)
    # The labels of the rows take some of the width.
    inches = min((WIDTH - 1.3) / columns, 0.85 * num_wide)
    figure = new_figure(rows * inches * height / width + 0.9)
    axes = figure.subplots()
    axes.set_facecolor(PALE)
    if planes:  # what is NaN has no opacity
        opaque = np.isfinite(canvas).all(0, keepdims=True)
        coloured = np.concatenate([np.clip(np.nan_to_num(canvas), 0, 1), opaque])
        axes.imshow(np.moveaxis(coloured, 0, -1), interpolation="nearest")
    else:
        axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks((np.arange(columns) + 0.5) * (width + 1))
    axes.set_yticks((np.arange(rows) + 0.5) * (height + 1))
    axes.tick_params(length=0, labelsize=MEDIUM)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=LARGE)
    return figure, axes


def _beside(images: NDArray[Any]) -> NDArray[Any]:
    """Images as they are drawn: with three planes, or with none, all planes side by side."""
    if images.ndim == 4 or images.shape[2] == 3:
        return images
    rows, columns, planes, height, width = images.shape
    return np.moveaxis(images, 2, 3).reshape(rows, columns, height, planes * width)


def mi_name(channel: str) -> str:
    """Names MI under a channel: a score under ``"mean"``, else a bound."""
    return f"MI {'score' if channel == 'mean' else 'bound'}, channel {channel}"


def training(channel: str) -> str:
    """Names the training of a run; ``"none"`` is without the information term."""
    return "without the term (λ = 0)" if channel == "none" else f"training channel {channel}"
