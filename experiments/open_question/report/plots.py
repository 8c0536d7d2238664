"""The figures of the open question: interactions, and the strongest factor of each code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.estimates import student_reach
from experiments.plots.rows import Rows, check_columns, distinct
from pyro_mivae.plotting import style
from pyro_mivae.plotting.factors_of_codes import COLOURS


def interaction_plot(rows: Rows, *, label: str) -> Figure:
    """Draws a measure on several data sets for each arm: lines that are not parallel interact.

    A panel for each value of ``panel``. Each run is a small point, a thin line joins the runs of a
    seed; thick lines join the means, with Student's 95 % intervals over seeds.

    Args:
        rows: One for each run, with ``panel``, ``arm``, ``data``, ``seed`` and ``value``.
        label: What the value is, with its unit.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    check_columns(rows, ("panel", "arm", "data", "seed", "value"), "a row for each run")
    panels, arms = distinct(rows, "panel"), distinct(rows, "arm")
    figure = Figure(figsize=(5.0 * len(panels) + 1.0, 6.4), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]  # of other data, other scales
    for axes, panel in zip(all_axes, panels, strict=True):
        panel_rows = [row for row in rows if str(row["panel"]) == panel]
        data = distinct(panel_rows, "data")
        for number, arm in enumerate(arms):
            shift = 0.0 if len(arms) == 1 else 0.3 * (number / (len(arms) - 1) - 0.5)
            chosen = [row for row in panel_rows if str(row["arm"]) == arm]
            _draw_arm(axes, chosen, data, shift, number, arm)
        style.finish(axes, panel, ylabel=label if axes is all_axes[0] else "")
        axes.set_xticks(range(len(data)), data, fontsize=style.MEDIUM)
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
        **style.OUTSIDE,
    )
    return figure


def _draw_arm(
    axes: Axes, rows: Rows, data: Sequence[str], shift: float, number: int, arm: str
) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], style.MARKERS[number % len(style.MARKERS)]
    places, means, reaches = [], [], []
    for place, name in enumerate(data):
        values = np.array([float(r["value"]) for r in rows if str(r["data"]) == name])
        if values.size:
            places.append(place + shift)
            means.append(float(values.mean()))
            reaches.append(student_reach(values) if len(values) > 1 else 0.0)
            axes.plot([place + shift] * len(values), values, ".", color=colour, ms=5, alpha=0.4)
    for seed in distinct(rows, "seed"):
        by_data = {str(r["data"]): float(r["value"]) for r in rows if str(r["seed"]) == seed}
        line = [(place + shift, by_data[n]) for place, n in enumerate(data) if n in by_data]
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), "-", color=colour, lw=0.5, alpha=0.25)
    if places:
        options: dict[str, Any] = {"color": colour, "marker": marker, "ms": 10, "lw": 2.5}
        options |= {"capsize": 6, "mfc": "white", "mew": 2, "zorder": 5}
        axes.errorbar(places, means, yerr=reaches, label=arm, **options)


def top_factors(rows: Rows) -> Figure:
    """Draws how often each factor is the one a code carries most about: a bar for each group.

    Args:
        rows: One for each run, with ``group`` and ``top``: the factor, or ``"none"`` where the code
            carries nothing about any.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    check_columns(rows, ("group", "top"), "a row for each run, with top 'none' without a factor")
    groups, factors = distinct(rows, "group"), sorted(distinct(rows, "top"))
    factors.sort(key=lambda name: name == "none")
    colours = {"label": style.GREY, "none": style.PALE}
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
                ink = style.INK if name in ("none", "label") else "white"
                options: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
                axes.text(left + width / 2, place, str(count), fontsize=style.SMALL, **options)
            left += width
        axes.text(1.01, place, f"{len(tops)} runs", va="center", fontsize=style.SMALL)
    style.finish(axes, "", "share of the runs")
    axes.set_yticks(range(len(groups)), groups, fontsize=style.MEDIUM)
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
        title="The factor that the leading code carries most about",
        **style.OUTSIDE,
    )
    return figure
