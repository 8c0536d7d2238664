"""The figure of many runs: what the weight of the information does, for each prior."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.rows import check_columns, distinct
from pyro_mivae.plotting import style

COLUMNS = {
    "mi/c/sample": "MI bound on I(c; x'),\nx' sampled",
    "kl/c": "KL(q(c|x) || p(c))",
    "log_likelihood": "log-likelihood",
}
MARKERS = "osD^v"  # one more than colours: twenty priors look different


def sweep_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws MI, KL of the code and log-likelihood over lambda, with mean and range over seeds.

    A row of panels for each training channel; each run is a point.

    Args:
        rows: One for each run, with ``prior``, ``channel``, ``mi_weight``, ``seed`` and the terms
            ``mi/c/sample``, ``kl/c`` and ``log_likelihood`` in nats per datum; numbers may be
            text, as :class:`csv.DictReader` gives them.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    needed = ("prior", "channel", "mi_weight", "seed", *COLUMNS)
    check_columns(rows, needed, "a row of sweep.csv for each run")
    channels, priors = distinct(rows, "channel"), distinct(rows, "prior")
    weights = sorted({float(row["mi_weight"]) for row in rows})
    figure = style.new_figure(2.5 * len(channels) + 1.0)
    panels = figure.subplots(len(channels), len(COLUMNS), sharex=True, squeeze=False)
    for line, channel in zip(panels, channels, strict=True):
        for axes, (column, title) in zip(line, COLUMNS.items(), strict=True):
            styles = (itertools.cycle(style.OTHERS), itertools.cycle(MARKERS))
            for prior, colour, marker in zip(priors, *styles, strict=False):
                runs = [r for r in rows if (r["prior"], r["channel"]) == (prior, channel)]
                _draw(axes, runs, column, f"prior {prior}", colour, marker)
            name = f"training channel {channel}\nnats per datum" if column == "mi/c/sample" else ""
            style.finish(axes, title if channel == channels[0] else "", ylabel=name)
            if len(weights) <= 6:
                axes.set_xticks(weights, [f"{weight:g}" for weight in weights])
            axes.tick_params(labelbottom=True)
            if channel == channels[-1]:
                axes.set_xlabel("λ, weight of the information", fontsize=style.MEDIUM)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 4),
        fontsize=style.SMALL,
        frameon=False,
        title=_note(rows),
        title_fontsize=style.SMALL,
    )
    return figure


def _draw(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    column: str,
    label: str,
    colour: str,
    marker: str,
) -> None:
    points = sorted((float(row["mi_weight"]), float(row[column])) for row in rows)
    grouped = {
        weight: [value for _, value in group]
        for weight, group in itertools.groupby(points, key=lambda point: point[0])
    }
    weights, values = list(grouped), list(grouped.values())
    axes.fill_between(
        weights, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0
    )
    axes.plot(*zip(*points, strict=True), marker, color=colour, ms=3.5, alpha=0.6, mew=0)
    means = [float(np.mean(v)) for v in values]
    axes.plot(
        weights, means, "-", color=colour, lw=1.5, marker=marker, ms=5.5, mfc="white", mew=1.5
    )
    axes.plot([], [], "-", color=colour, lw=1.5, marker=marker, mfc="white", mew=1.5, label=label)


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    seeds = len({str(row["seed"]) for row in rows})
    if seeds == 1:
        return "One seed"
    return f"{seeds} seeds: each is a small point, their mean a line, their range a band"
