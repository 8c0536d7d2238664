"""Estimates with intervals, line by line."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.plots.rows import Rows, check_columns, distinct
from pyro_mivae.plotting import style

COLOURS = [*style.PAIR, style.INK, style.OTHERS[0]]


def forest_plot(rows: Rows, *, label: str, margins: Mapping[str, float] | None = None) -> Figure:
    """Draws estimates with their intervals, one below the other, beside a mark at 0.

    A panel for each value of ``panel``, all with the same lines; each with its own scale.

    Args:
        rows: One for each estimate, with ``panel``, ``line`` (what is estimated), ``group`` (from
            what), and numbers ``value``, ``low`` and ``high``.
        label: What the values are, with their unit.
        margins: Margin around 0 by line, shaded behind it; lines without one have none.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    columns = ("panel", "line", "group", "value", "low", "high")
    check_columns(rows, columns, "a row for each estimate")
    panels, lines, groups = (distinct(rows, name) for name in columns[:3])
    height = 0.16 * len(groups) + 0.2
    figure = style.new_figure(height * len(lines) + 1.3)
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.axvline(0, color=style.GREY, lw=1, zorder=0)
        for line, margin in (margins or {}).items():
            place = lines.index(line)
            corner = (-margin, place - 0.45)
            axes.add_patch(Rectangle(corner, 2 * margin, 0.9, color=style.GREY, alpha=0.2, lw=0))
        for number, group in enumerate(groups):
            estimates = [
                row for row in rows if (str(row["panel"]), str(row["group"])) == (panel, group)
            ]
            values = [float(row["value"]) for row in estimates]
            reach = [
                [v - float(row["low"]) for v, row in zip(values, estimates, strict=True)],
                [float(row["high"]) - v for v, row in zip(values, estimates, strict=True)],
            ]
            shift = 0.7 * ((number + 0.5) / len(groups) - 0.5)
            places = [lines.index(str(row["line"])) + shift for row in estimates]
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(
                values,
                places,
                xerr=reach,
                fmt=style.MARKERS[number % len(style.MARKERS)],
                color=colour,
                ms=4.5,
                capsize=2.5,
                lw=1.5,
                label=group,
            )
        style.finish(axes, panel)
        axes.set_yticks(range(len(lines)), lines, fontsize=style.SMALL)
        axes.set_ylim(len(lines) - 0.4, -0.6)  # the first on top
        axes.grid(visible=False, axis="y")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        ncols=len(labels),
        title=label,
        **style.OUTSIDE,
    )
    return figure
