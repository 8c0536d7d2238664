"""Which code tells of which factor: over many runs, and of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from pyro_mivae.plotting import drawing, tables
from pyro_mivae.plotting.tables import Rows

COLOURS = [*drawing.PAIR, *drawing.OTHERS, "#332288", "#882255"]


def interaction_plot(rows: Rows, *, label: str) -> Figure:
    """A measure on two data sets or more for each arm: lines that are not parallel interact.

    A panel for each value of ``panel``. Each run is a small point, a thin line joins the runs of a
    seed; thick lines join the means, with Student's 95 % intervals over seeds.

    Args:
        rows: One for each run, with ``panel``, ``arm``, ``data``, ``seed`` and ``value``.
        label: What the value is, with its unit.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    tables.check(rows, ("panel", "arm", "data", "seed", "value"), "a row for each run")
    panels, arms = tables.distinct(rows, "panel"), tables.distinct(rows, "arm")
    figure = Figure(figsize=(5.0 * len(panels) + 1.0, 6.4), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]  # of other data, other scales
    for axes, panel in zip(all_axes, panels, strict=True):
        some = [row for row in rows if str(row["panel"]) == panel]
        data = tables.distinct(some, "data")
        for number, arm in enumerate(arms):
            shift = 0.0 if len(arms) == 1 else 0.3 * (number / (len(arms) - 1) - 0.5)
            chosen = [row for row in some if str(row["arm"]) == arm]
            _draw_arm(axes, chosen, data, shift, number, arm)
        drawing.finish(axes, panel, ylabel=label if axes is all_axes[0] else "")
        axes.set_xticks(range(len(data)), data, fontsize=drawing.MEDIUM)
        axes.set_xlim(-0.5, len(data) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.tick_params(labelleft=True)
    handles, labels = all_axes[0].get_legend_handles_labels()
    for axes in all_axes[1:]:
        more = zip(*axes.get_legend_handles_labels(), strict=True)
        new = [(h, text) for h, text in more if text not in labels]
        handles, labels = [*handles, *(h for h, _ in new)], [*labels, *(text for _, text in new)]
    figure.legend(
        handles,
        labels,
        ncols=len(labels),
        title="A small point is a run, a thin line a seed; means with 95 % intervals over seeds",
        **drawing.OUTSIDE,
    )
    return figure


def _draw_arm(
    axes: Axes, rows: Rows, data: Sequence[str], shift: float, number: int, arm: str
) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], drawing.MARKERS[number % len(drawing.MARKERS)]
    places, means, reaches = [], [], []
    for place, name in enumerate(data):
        values = np.array([float(r["value"]) for r in rows if str(r["data"]) == name])
        if values.size:
            places.append(place + shift)
            means.append(float(values.mean()))
            reaches.append(_reach(values))
            axes.plot([place + shift] * len(values), values, ".", color=colour, ms=5, alpha=0.4)
    for seed in tables.distinct(rows, "seed"):
        by_data = {str(r["data"]): float(r["value"]) for r in rows if str(r["seed"]) == seed}
        line = [(place + shift, by_data[n]) for place, n in enumerate(data) if n in by_data]
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), "-", color=colour, lw=0.5, alpha=0.25)
    if places:
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 10, "lw": 2.5}
        style |= {"capsize": 6, "mfc": "white", "mew": 2, "zorder": 5}
        axes.errorbar(places, means, yerr=reaches, label=arm, **style)


def _reach(values: NDArray[Any]) -> float:
    """Half of Student's 95 % interval; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1) * error)


def top_factors(rows: Rows) -> Figure:
    """How often a code tells most of each factor: a bar for each group of runs.

    Args:
        rows: One for each run, with ``group`` and ``top``: the factor, or ``"none"`` where the code
            tells of none.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    tables.check(rows, ("group", "top"), "a row for each run, with top 'none' where no code tells")
    groups, factors = tables.distinct(rows, "group"), sorted(tables.distinct(rows, "top"))
    factors.sort(key=lambda name: name == "none")
    colours = {"label": drawing.GREY, "none": drawing.PALE}
    own = [name for name in factors if name not in colours]
    colours |= {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(own)}
    figure = Figure(figsize=(12, 0.55 * len(groups) + 2.2), layout="constrained")
    axes = figure.subplots()
    for place, group in enumerate(groups):
        tops = [str(row["top"]) for row in rows if str(row["group"]) == group]
        left = 0.0
        for name in factors:
            count = tops.count(name)
            width = count / len(tops)
            axes.barh(place, width, left=left, height=0.7, color=colours[name], label=name)
            if count:
                ink = drawing.INK if name in ("none", "label") else "white"
                style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
                axes.text(left + width / 2, place, str(count), fontsize=drawing.SMALL, **style)
            left += width
        axes.text(1.01, place, f"{len(tops)} runs", va="center", fontsize=drawing.SMALL)
    drawing.finish(axes, "", "share of the runs")
    axes.set_yticks(range(len(groups)), groups, fontsize=drawing.MEDIUM)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    handles, labels = axes.get_legend_handles_labels()
    chosen = dict(zip(labels, handles, strict=True))
    figure.legend(
        [chosen[name] for name in factors],
        factors,
        ncols=len(factors),
        title="The factor that the leading code tells most of",
        **drawing.OUTSIDE,
    )
    return figure


def mi_matrices(
    matrices: Mapping[str, NDArray[Any]],
    *,
    codes: Sequence[str],
    factors: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Information between every code and every factor, a panel for each model, one scale for all.

    Args:
        matrices: Nats, (codes, factors), by title.
        codes: Names of the rows, ``c[3]`` for dimension 3 of c.
        factors: Names of the columns.
        columns: Panels side by side.

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
            ink = "white" if value > 0.6 * top else drawing.INK
            style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
            axes.text(column, row, drawing.number(value), fontsize=drawing.SMALL, **style)
        axes.set_xticks(range(expected[1]), factors, fontsize=drawing.SMALL)
        axes.set_yticks(range(expected[0]), [drawing.tex(name) for name in codes])
        axes.tick_params(length=0, labelsize=drawing.SMALL)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=drawing.MEDIUM)
    bar = figure.colorbar(image, ax=panels[: len(matrices)])
    bar.set_label("nats", fontsize=drawing.MEDIUM)
    return figure


def measured_traversals(
    images: NDArray[Any],
    measured: NDArray[Any],
    *,
    names: Sequence[str],
    labels: Sequence[str],
) -> Figure:
    """Traversals with what was measured of each image under it.

    Args:
        images: In [0, 1], (rows, steps, height, width).
        measured: (rows, steps, names); NaN for what could not be measured.
        names: Of what was measured, with units.
        labels: Of the rows, ``c[3]`` for dimension 3 of c.

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
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": drawing.SMALL}
    for row, step in np.ndindex(rows, steps):
        left, top = step * wide - 0.5, row * tall - 0.5
        frame = [
            (left, top),
            (left + width, top),
            (left + width, top + height),
            (left, top + height),
        ]
        axes.plot(*zip(*frame, frame[0], strict=True), color=drawing.PALE, lw=0.8)
        values = measured[row, step]
        text = "\n".join(drawing.number(v) if np.isfinite(v) else "–" for v in values)
        axes.text(left + width / 2, top + height + 0.05 * height, text, **style)
    axes.set_xlim(-1, steps * wide)
    axes.set_ylim(rows * tall, -1)
    axes.set_xticks([])
    axes.set_yticks(np.arange(rows) * tall + height / 2, [drawing.tex(name) for name in labels])
    axes.tick_params(length=0, labelsize=drawing.LARGE)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("under each image: " + ", ".join(names), fontsize=drawing.SMALL)
    return figure
