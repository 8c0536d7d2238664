"""Texts beside points, where they cover nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pyro_mivae.plotting import style

ANGLES = np.deg2rad([30, -30, 150, -150, 0, 180, 90, -90, 60, -60, 120, -120])
REACHES = (6, 12, 20)
"""From the point to the text, in points (1/72 inch); beyond the first with a leader."""
CLEAR = 1.0
FAR, COVERED, OVERLAPS, OUTSIDE = 0.3, 1.0, 1000.0, 500.0


class Label(NamedTuple):
    """A text for a point; unless it is needed it may stay out."""

    point: tuple[float, float]
    text: str
    colour: Any
    needed: bool


def label_points(axes: Axes, labels: Sequence[Label]) -> None:
    """Writes texts beside points, clear of lines, markers, other texts and the rim.

    What is needed comes first, where it covers least; the rest is left out where it would cover
    anything. To be called when the axes have their size and limits, after
    :meth:`matplotlib.figure.Figure.draw_without_rendering`.

    Args:
        axes: Axes with lines and markers drawn.
        labels: Texts, with points in the axes' data.
    """
    covered = _covered(axes)
    taken: list[Bbox] = []
    frame = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    for label in sorted(labels, key=lambda label: not label.needed):
        options: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.TINY}
        options |= {"color": label.colour, "textcoords": "offset points", "zorder": 5}
        note = axes.annotate(label.text, label.point, xytext=(0.0, 0.0), **options)
        extent = note.get_window_extent()
        size = np.array([extent.width, extent.height])
        centre = axes.transData.transform(label.point)
        candidates = []
        for number, (reach, angle) in enumerate(itertools.product(REACHES, ANGLES)):
            way = np.array([np.cos(angle), np.sin(angle)])
            # The text's nearest corner or side, not its middle, is as far as the reach.
            offset = way * reach * scale + np.sign(way.round(6)) * size / 2
            box = Bbox.from_bounds(*(centre + offset - size / 2), *size)
            cost = _cost(box.padded(3 * scale), covered, taken, frame)
            candidates.append((cost + FAR * reach / REACHES[-1], number, offset, box))
        cost, number, offset, box = min(candidates, key=lambda each: each[:2])
        if cost > CLEAR and not label.needed:
            note.remove()
            continue
        note.set_position(tuple(offset / scale))
        taken.append(box.padded(2 * scale))
        if number >= len(ANGLES):
            # From the marker's rim to where the text begins.
            edge = offset * max((abs(offset) - size / 2 - 2) / np.maximum(abs(offset), 1e-9))
            line = {"arrowstyle": "-", "color": style.GREY, "lw": 0.8, "shrinkA": 0, "shrinkB": 5}
            axes.annotate(
                "", label.point, xytext=edge / scale, textcoords="offset points", arrowprops=line
            )


def _covered(axes: Axes) -> NDArray[Any]:
    """Pixels on lines and markers, a few apart."""
    pixels = [np.empty((0, 2))]
    for line in axes.lines:
        path = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        pixels.append(path)
        if line.get_linestyle() != "None":
            for one, other in itertools.pairwise(path):
                steps = np.linspace(0, 1, 2 + int(np.hypot(*(other - one)) // 3))
                pixels.append(one + steps[:, None] * (other - one))
    return np.concatenate(pixels)


def _cost(box: Bbox, covered: NDArray[Any], taken: Sequence[Bbox], frame: Bbox) -> float:
    inside = (covered > box.min).all(axis=1) & (covered < box.max).all(axis=1)
    outside = bool(np.any(box.min < frame.min) or np.any(box.max > frame.max))
    overlaps = sum(bool(box.overlaps(other)) for other in taken)
    return float(COVERED * inside.sum() + OVERLAPS * overlaps + OUTSIDE * outside)
