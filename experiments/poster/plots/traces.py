"""The poster's Figures 3 and 4: information and KL of code and noise over the training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pyro_mivae.plotting import style
from pyro_mivae.runs.history import History

# The poster's blue and green first, each with a stroke of its own.
TRACES = [style.SITES["c"][1], *style.OTHERS, style.SITES["z"][1]]
STROKES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)))
PANELS = {
    "mi": ("cz", "{} c and z"),
    "mi/c": ("c", "{} c"),
    "mi/z": ("z", "{} z"),
    "kl": ("cz", "KL of c and z"),
    "kl/c": ("c", "KL of c"),
    "kl/z": ("z", "KL of z"),
}

Trace = dict[int, float]
"""Values by step."""


def information_traces(
    traces: Mapping[str, Sequence[History]],
    *,
    channel: str,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    each: bool = False,
) -> Figure:
    """Draws information and KL of code and noise over the training: Figures 3 and 4.

    Six panels, of the rows ``validation``: the score of c and z (under another channel than
    ``mean`` the bound) as the sum of ``mi/c`` and ``mi/z`` under the channel, its two parts,
    KL(q || p) of both, of c and of z. A line is the mean over seeds at the steps that all of them
    have, a band their range. The first two labels have the poster's blue and green.

    Args:
        traces: Histories by label, one for each seed; in nats per datum.
        channel: Channel under which the information was read.
        reference: Values to compare the end with, by label and panel (``mi``, ``mi/c``, ``mi/z``,
            ``kl``, ``kl/c``, ``kl/z``): dotted marks at the right edge.
        each: Whether to draw a thin line for each seed in place of the band.

    Raises:
        ValueError: If there is nothing to draw, a history lacks a column, the seeds of a label
            have no step in common, or the channel or a reference is unknown.
    """
    if channel not in style.DASHES:
        expected = list(style.DASHES)
        raise ValueError(f"no MI under channel {channel!r}: expected one of {expected}")
    if not traces:
        raise ValueError("there is no trace to draw: expected histories by label")
    reference = reference or {}
    _check_reference(reference, traces)
    figure = style.new_figure(5.6)
    kind = "Score of" if channel == "mean" else "Bound of"
    panels = figure.subplots(2, 3, sharex=True, sharey="row")
    colours = dict(zip(traces, itertools.cycle(TRACES), strict=False))
    for axes, (name, (sites, title)) in zip(panels.flat, PANELS.items(), strict=True):
        columns = [f"mi/{s}/{channel}" if name[:2] == "mi" else f"kl/{s}" for s in sites]
        axes.axhline(0, color=style.GREY, lw=1)
        for (label, histories), stroke in zip(traces.items(), itertools.cycle(STROKES)):
            seeds = [_sum(h, columns, label) for h in histories]
            _draw_trace(axes, seeds, label, colours[label], stroke, each)
        for label, values in reference.items():
            if name in values:
                # Beside the axes, where they hide no trace.
                mark = {"color": colours[label], "transform": axes.get_yaxis_transform()}
                ends = [values[name]] * 2
                axes.plot([1.01, 1.07], ends, ls=(0, (1, 0.6)), lw=2.5, clip_on=False, **mark)
        style.finish(axes, title.format(kind))
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    for axes in panels[-1]:
        axes.set_xlabel("training step", fontsize=style.MEDIUM)
    for axes, quantity in zip(panels[:, 0], (style.mi_name(channel), "KL(q || p)"), strict=True):
        axes.set_ylabel(f"{quantity}\nnats per datum", fontsize=style.MEDIUM)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        ncols=2,
        title=_note(each, any(len(h) > 1 for h in traces.values()), bool(reference)),
        **style.OUTSIDE,
    )
    return figure


def _check_reference(
    reference: Mapping[str, Mapping[str, float]], traces: Mapping[str, Any]
) -> None:
    for label, values in reference.items():
        if label not in traces:
            raise ValueError(f"a reference for {label!r}: expected one of {list(traces)}")
        if unknown := [name for name in values if name not in PANELS]:
            raise ValueError(f"a reference for the panel {unknown[0]!r}: expected {list(PANELS)}")


def _sum(history: History, columns: Sequence[str], label: str) -> Trace:
    rows = [r for r in history.rows if r["split"] == "validation"]
    by_step = {int(r["step"]): r for r in rows if all(c in r for c in columns)}
    if not by_step:
        known = sorted({name for r in rows for name in r})
        raise ValueError(
            f"a history of {label!r} has no row 'validation' with {' and '.join(columns)}: "
            f"expected them in each, found {known}"
        )
    return {step: sum(float(row[c]) for c in columns) for step, row in sorted(by_step.items())}


def _draw_trace(
    axes: Axes, seeds: Sequence[Trace], label: str, colour: str, stroke: Any, each: bool
) -> None:
    if not seeds:
        raise ValueError(f"{label!r} has no history: expected one for each seed")
    steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
    if not steps:
        raise ValueError(
            f"the histories of {label!r} have no step in common: expected readings at the same "
            "steps for every seed"
        )
    values = np.array([[seed[step] for step in steps] for seed in seeds])
    if each:
        for seed in seeds:
            axes.plot(list(seed), list(seed.values()), "-", color=colour, lw=0.6, alpha=0.5)
    elif len(seeds) > 1:
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    number = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    options = {"ls": stroke, "color": colour, "label": f"{label} ({number})"}
    axes.plot(steps, values.mean(0), lw=1.5, marker="o" if len(steps) == 1 else None, **options)


def _note(each: bool, several: bool, reference: bool) -> str:
    note = ["on validation data"]
    if several:
        note += ["thick: mean over seeds, thin: each seed" if each else "mean and range over seeds"]
    if reference:
        note += ["dotted, at the right edge: read off the poster"]
    return "; ".join(note)
