"""The poster's three observations: a trade-off, an ignored part, dimensions that matter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.plots.placing import Label, label_points
from experiments.plots.rows import Rows, check_columns, distinct, grouped, seeds_note
from pyro_mivae.plotting import style
from pyro_mivae.plotting.style import MARKERS, OUTSIDE


class _Curve(NamedTuple):
    """Runs that differ in one weight, whose sign is `sign`."""

    key: str
    sign: str
    note: str
    rows: Rows
    colour: str
    marker: str

    def values(self, column: str) -> dict[float, list[tuple[float, ...]]]:
        """KL and a column of each run, by weight."""
        return grouped(self.rows, self.key, "kl", column)

    def labels(self, column: str) -> list[Label]:
        """Labels the means; of lambda's, which may lie close together, only the last is needed."""
        values = self.values(column)
        shown = [w for w in values if self.sign == "β" or w != 0]
        return [
            Label(
                (
                    float(np.mean([v[0] for v in values[w]])),
                    float(np.mean([v[1] for v in values[w]])),
                ),
                f"{self.sign} = {w:g}",
                style.darker(self.colour),
                needed=self.sign == "β" or w == shown[-1],
            )
            for w in shown
        ]


def tradeoff(rows: Rows, *, code: str = "c") -> Figure:
    """Draws log-likelihood, MI score and MI bound against the KL: the claim of one trade-off.

    The dark line is the frontier of beta, of the runs without the information term
    (``mi_weight`` 0). A coloured line for each training channel is that of lambda, of the runs
    with ``kl_weight`` 1; it starts at the frontier's beta = 1. Rows with both weights changed
    belong to neither and are left out. Each run is a small point, lines go through the means over
    seeds.

    Args:
        rows: One for each run, with ``channel``, ``mi_weight``, ``kl_weight``, ``seed`` and, in
            nats per datum, ``kl``, ``log_likelihood``, ``mi_score`` (channel mean) and
            ``mi_bound`` (channel sample).
        code: Sites whose information was read, for the labels.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    information = f"I({code}; x') in nats per datum"
    panels = {
        "log_likelihood": ("Log-likelihood", "nats per datum"),
        "mi_score": (style.mi_name("mean"), information),
        "mi_bound": (style.mi_name("sample"), information),
    }
    needed = ("channel", "mi_weight", "kl_weight", "seed", "kl", *panels)
    check_columns(rows, needed, "a row for each run, with the terms in nats per datum")
    frontier = [r for r in rows if float(r["mi_weight"]) == 0]
    with_mi = [r for r in rows if float(r["mi_weight"]) != 0 and float(r["kl_weight"]) == 1]
    start = [r for r in frontier if float(r["kl_weight"]) == 1]
    if not frontier + with_mi:
        raise ValueError("no run has mi_weight 0 or kl_weight 1: expected one weight to vary")
    curves = [_Curve("kl_weight", "β", "λ = 0", frontier, style.INK, "o")]
    for channel in distinct(with_mi, "channel"):
        chosen = start + [r for r in with_mi if r["channel"] == channel]
        note = f"β = 1, {style.training(channel)}"
        curves.append(_Curve("mi_weight", "λ", note, chosen, *style.CHANNELS[channel]))
    figure = Figure(figsize=(19, 8), layout="constrained")
    axes_of = dict(zip(panels, figure.subplots(1, 3), strict=True))
    for column, axes in axes_of.items():
        for curve in reversed(curves):
            values = curve.values(column)
            label = f"{curve.sign} = {', '.join(f'{w:g}' for w in values)} at {curve.note}"
            _draw_curve(axes, values, label, curve.colour, curve.marker)
        title, ylabel = panels[column]
        style.finish(axes, title, "KL(q || p) in nats per datum", ylabel)
        axes.margins(0.1)
    handles, labels = axes_of["log_likelihood"].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], ncols=2, title=seeds_note(rows), **OUTSIDE)
    figure.draw_without_rendering()
    for column, axes in axes_of.items():
        label_points(axes, [label for curve in curves for label in curve.labels(column)])
    return figure


def _draw_curve(
    axes: Axes, values: dict[float, list[tuple[float, ...]]], label: str, colour: str, marker: str
) -> None:
    if values:
        every = np.concatenate([np.array(v) for v in values.values()])
        axes.plot(*every.T, marker, ls="None", color=colour, ms=5, alpha=0.45, mew=0)
        means = np.array([np.mean(v, axis=0) for v in values.values()])
        options: dict[str, Any] = {"lw": 2.5, "ms": 9, "mfc": "white", "mew": 2.5, "label": label}
        axes.plot(*means.T, "-", color=colour, marker=marker, **options)


def capacity(rows: Rows, *, measure: str) -> Figure:
    """Draws the code's share of the information over its size: is the noise ignored?

    A point for each run, a line through the means over seeds for each training channel. A share
    is 1 where the noise carries nothing, and leaves [0, 1] where a bound is negative. Runs whose
    share is not finite are counted in the legend.

    Args:
        rows: One for each run, with ``size`` (dimensions of c, and of z), ``channel`` (``none``
            for runs without the term), ``seed``, ``kl_share`` and ``mi_share``, the parts of c in
            the sums over c and z.
        measure: Title: the quantity of ``mi_share``, and its channel.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    needed = ("size", "channel", "seed", "kl_share", "mi_share")
    check_columns(rows, needed, "a row for each run, with the code's shares")
    sizes = sorted({float(row["size"]) for row in rows})
    channels = distinct(rows, "channel")
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    undefined = dict.fromkeys(channels, 0)
    for axes, column, title in zip(
        panels, ("kl_share", "mi_share"), ("KL(q || p)", measure), strict=True
    ):
        for place, channel in enumerate(channels):
            chosen = [r for r in rows if r["channel"] == channel]
            finite = [r for r in chosen if np.isfinite(float(r[column]))]
            undefined[channel] = max(undefined[channel], len(chosen) - len(finite))
            # Side by side: seeds of two channels often agree.
            aside = 2 ** (0.09 * (place - (len(channels) - 1) / 2))
            values: dict[float, list[tuple[float, ...]]] = {
                size: [(size * aside, share) for (share,) in shares]
                for size, shares in grouped(finite, "size", column).items()
            }
            note = f", {undefined[channel]} undefined" if undefined[channel] else ""
            label = style.training(channel) + note
            _draw_curve(axes, values, label, *style.CHANNELS[channel])
        axes.axhline(0.5, color=style.GREY, ls="--", lw=1.5)
        style.finish(axes, title, "dimensions, |c| = |z|")
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelleft=True)
    shares = [float(row[column]) for row in rows for column in ("kl_share", "mi_share")]
    ends = [share for share in shares if np.isfinite(share)] + [0.0, 1.0]
    panels[0].set_ylim(min(ends) - 0.04, max(ends) + 0.04)
    panels[0].set_ylabel(
        "share of the code c in that of c and z\n(dashed: a half)", fontsize=style.MEDIUM
    )
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, title=seeds_note(rows), **OUTSIDE)
    return figure


def dimension_loss(
    rows: Rows, *, correlations: Mapping[str, tuple[float, float, float]], channel: str
) -> Figure:
    """Draws what is lost without a dimension against its MI and its KL: which tells what matters?

    Args:
        rows: One for each dimension of each run, with ``run``, ``site`` (``c`` or ``z``) and, in
            nats per datum, ``mi``, ``kl`` and ``loss``, the log-likelihood lost where the
            dimension is drawn from the prior.
        correlations: Spearman's correlation with the loss and the ends of its bootstrap interval,
            for ``mi`` and ``kl``.
        channel: Channel under which the MI was read.

    Raises:
        ValueError: If there is no row, one lacks a column, or a correlation is missing.
    """
    needed = ("run", "site", "mi", "kl", "loss")
    check_columns(rows, needed, "a row for each dimension of each run")
    if missing := {"mi", "kl"} - set(correlations):
        raise ValueError(
            f"no correlation for {' and '.join(sorted(missing))}: expected (value, low, high) for "
            "'mi' and 'kl'"
        )
    runs = distinct(rows, "run")
    markers = dict(
        zip(
            runs,
            MARKERS if len(runs) <= len(MARKERS) else "o" * len(runs),
            strict=False,
        )
    )
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = {"mi": style.mi_name(channel), "kl": "KL(q || p)"}
    for axes, (column, name) in zip(panels, names.items(), strict=True):
        for run, site in itertools.product(runs, style.SITES):
            chosen = [r for r in rows if (str(r["run"]), r["site"]) == (run, site)]
            points = [(float(r[column]), float(r["loss"])) for r in chosen]
            options: dict[str, Any] = {
                "color": style.SITES[site][1],
                "ls": "None",
                "marker": markers[run],
            }
            if points:
                axes.plot(*zip(*points, strict=True), ms=9, alpha=0.7, mec="white", **options)
        value, low, high = map(style.number, correlations[column])
        title = f"Spearman's ρ = {value} [{low}, {high}]"
        style.finish(axes, title, f"{name}, in nats per datum")
        axes.axhline(0, color=style.GREY, lw=1, zorder=1)
        axes.axvline(0, color=style.GREY, lw=1, zorder=1)
        axes.tick_params(labelleft=True)
    text = "log-likelihood lost where\ndrawn from the prior (nats per datum)"
    panels[0].set_ylabel(text, fontsize=style.MEDIUM)
    for site in distinct(rows, "site"):
        name, colour = style.SITES[site]
        panels[0].plot([], [], "o", color=colour, ms=9, label=name)
    if len(set(markers.values())) > 1:
        for run, marker in markers.items():
            options = {"color": style.INK, "mfc": "white", "ms": 9, "label": run}
            panels[0].plot([], [], marker, **options)
    note = f"Dimensions of {len(runs)} runs; in brackets the bootstrap interval of ρ"
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=-(-len(labels) // 2), title=note, **OUTSIDE)
    return figure
