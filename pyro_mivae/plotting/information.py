"""Figures of information: by dimension, between dimensions, and how its bounds close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pyro_mivae.plotting import lookup, style

Bars = list[tuple[str, Any, Any, Any]]
"""Label, heights, standard errors or None, and colour of each group of bars."""

_UPRIGHT = 24
"""Dimensions beside each other whose names fit without being turned."""
_PAIRS = 10
"""Pairs of dimensions whose information is written out."""

CODES = {**style.SITES, "c, z": ("code and noise", style.INK)}


def information_bars(tree: xr.DataTree) -> Figure:
    """Draws MI of each dimension under each channel beside I_q and KL, by descending MI.

    Args:
        tree: Groups of a run, with ``information``.
    """

    def bars(data: xr.Dataset, site: str, colour: str) -> Bars:
        groups: Bars = []
        for channel, values in lookup.mi_by_channel(tree, site).items():
            error = data[f"mi_{site}_se"].sel(channel=channel) if f"mi_{site}_se" in data else None
            fill = style.shade(colour, channel)
            groups.append((style.mi_name(channel), values, error, fill))
        name = f"$I_q$({site}; x) of the data"
        groups += _bars(data, f"aggregate_mi_{site}", name, style.INK)
        return groups + _bars(data, f"kl_{site}", "KL(q || p)", style.GREY)

    return _by_dimension(tree, [bars], ["nats per datum"])


def dimension_use(tree: xr.DataTree) -> Figure:
    """Draws the use of each dimension: reconstruction lost without it, and the means' variance.

    The variance of the posterior means is a share of the prior's, which makes codes of different
    priors comparable: 0 is a dimension that no datum moves, near 1 one that the data settle.

    Args:
        tree: Groups of a run, with ``information``. In one that was written before the prior's
            variance was measured the posterior means' own variance is drawn, in the code's units.
    """
    data = lookup.get_group(tree, "information")
    known = all(
        f"prior_variance_{site}" in data for site in style.SITES if f"activity_{site}" in data
    )

    def activity(data: xr.Dataset, site: str, colour: str) -> Bars:
        if f"activity_{site}" not in data or not known:
            return _bars(data, f"activity_{site}", "", colour)
        prior = data[f"prior_variance_{site}"]
        names = [f"activity_{site}", f"activity_{site}_se"]
        shares = {name: data[name] / prior for name in names if name in data}
        return _bars(xr.Dataset(shares), names[0], "", colour)

    rows = [lambda data, site, colour: _bars(data, f"resampling_loss_{site}", "", colour), activity]
    names = [
        "log-likelihood lost where\ndrawn from the prior (nats)",
        "variance of the posterior\nmean, " + ("of the prior's" if known else "in its own units"),
    ]
    return _by_dimension(tree, rows, names)


def pairwise_information(tree: xr.DataTree) -> Figure:
    """Draws the information between every two dimensions under the data, each pair once.

    The pairs with the most have their number.

    Args:
        tree: Groups of a run, with ``pairwise_mi`` in ``information``.
    """
    matrix = lookup.get_values(tree, "information", "pairwise_mi")
    error = lookup.get_values(tree, "information", "pairwise_mi_se")
    names = [style.tex(str(name)) for name in lookup.get_values(tree, "information", "dimension")]
    figure = style.new_figure(min(0.4 * len(names) + 1.2, style.WIDTH))
    axes = figure.subplots()
    below = np.where(np.tri(len(names), k=-1, dtype=bool), matrix, np.nan)
    known = np.sort(below[np.isfinite(below)])
    least = known[-_PAIRS:].min(initial=np.inf)
    image = style.heat_map(
        axes,
        below,
        columns=names,
        rows=names,
        top=max(float(known.max(initial=0.0)), 0.01),
        texts=style.numbers(below, least),
    )
    axes.set_title("Information between dimensions under q(z)", fontsize=style.LARGE)
    note = f"standard errors up to {np.nanmax(error, initial=0.0):.2f}"
    axes.set_xlabel(note, fontsize=style.SMALL)
    bar = figure.colorbar(image, ax=axes)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.set_label("nats", fontsize=style.MEDIUM)
    return figure


def information_curves(data: xr.Dataset) -> Figure:
    """Draws how bounds close: L_K and U_K over the number of samples, I_q over that of data.

    Args:
        data: Measurements: ``lower`` and ``upper`` (guide, codes, num_samples),
            ``aggregate_information`` (codes, num_data), each with its standard error ``..._se``;
            ``kl`` (codes).
    """
    codes = [str(name) for name in data["codes"].values]
    figure = style.new_figure(7.4)
    panels = figure.subplots(2, len(codes), sharey="row", squeeze=False)
    for column, name in enumerate(codes):
        title, colour = CODES.get(name, (name, style.INK))
        one = data.sel(codes=name)
        model, aggregate = panels[:, column]
        for guide, shade in zip(one["guide"].values, (colour, style.OTHERS[0]), strict=False):
            _draw_sandwich(model, one.sel(guide=guide), str(guide), shade)
        head = f"{title[0].upper()}{title[1:]}\nI({name}; x') of the model"
        style.finish(model, head, "samples K", _nats(column))
        num_data = one["num_data"].values
        values = one["aggregate_information"], one["aggregate_information_se"]
        errorbars = {"fmt": "-o", "color": colour, "lw": 1.5, "ms": 4, "capsize": 2}
        aggregate.errorbar(num_data, *values, label="$I_q$ of N data", **errorbars)
        aggregate.plot(num_data, np.log(num_data), ":", color=style.INK, label="log N")
        aggregate.axhline(float(one["kl"]), ls="--", color=style.GREY, label="mean KL(q || p)")
        style.finish(aggregate, f"$I_q$({name}; x) of the data", "data N", _nats(column))
        for axes in (model, aggregate):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
            style.legend_below(axes, -0.24)
    return figure


def _draw_sandwich(axes: Axes, bounds: xr.Dataset, guide: str, colour: str) -> None:
    samples = bounds["num_samples"].values
    for bound, label, marker in (("upper", "$U_K$", "-v"), ("lower", "$L_K$", "-^")):
        axes.errorbar(
            samples,
            bounds[bound],
            bounds[f"{bound}_se"],
            fmt=marker,
            color=colour,
            label=f"{label}, {guide} guide",
            lw=1.5,
            ms=4,
            capsize=2,
        )
    upper = np.where(np.isinf(bounds["upper"]), bounds["lower"].max(), bounds["upper"])
    axes.fill_between(samples, bounds["lower"], upper, color=colour, alpha=0.12, lw=0)


def _nats(column: int) -> str:
    return "nats per datum" if column == 0 else ""


def _bars(data: xr.Dataset, name: str, label: str, colour: Any) -> Bars:
    if name not in data:
        return []
    error = data[f"{name}_se"].values if f"{name}_se" in data else None
    return [(label, data[name].values, error, colour)]


def _by_dimension(tree: xr.DataTree, rows: Sequence[Any], names: Sequence[str]) -> Figure:
    """Draws bars of each dimension by descending MI, a column for each site."""
    data = lookup.get_group(tree, "information")
    # A site whose marginals are not known was not measured by dimension.
    sites = [s for s in lookup.sites_of(data) if any(make(data, s, style.INK) for make in rows)]
    sizes = [data.sizes.get(f"{site}_dim", 1) for site in sites]
    figure = style.new_figure(4.2 if len(rows) == 1 else 2.5 * len(rows))
    # A legend needs as much room as a few dimensions.
    widths = [max(size, 0.3 * max(sizes)) for size in sizes]
    panels = figure.subplots(
        len(rows), len(sites), sharey="row", squeeze=False, width_ratios=widths
    )
    crowded = sum(sizes) > _UPRIGHT
    for number, (make, name) in enumerate(zip(rows, names, strict=True)):
        for axes, site, size in zip(panels[number], sites, sizes, strict=True):
            title, colour = style.SITES[site]
            order, _, _ = lookup.by_information(tree, site, size)
            _draw_bars(axes, make(data, site, colour), order)
            ylabel = name if site == sites[0] else ""
            style.finish(axes, title.capitalize() if number == 0 else "", ylabel=ylabel)
            axes.grid(visible=False, axis="x")
            ticks = [lookup.tick(site, d) for d in order]
            axes.set_xticks(range(size), ticks, fontsize=style.SMALL, rotation=90 * crowded)
            style.legend_below(axes, -0.12 - 0.06 * crowded)
    return figure


def _draw_bars(axes: Axes, bars: Bars, order: Any) -> None:
    thickness = 0.84 / max(1, len(bars))
    for number, (label, values, error, fill) in enumerate(bars):
        place = np.arange(len(order)) + (number - (len(bars) - 1) / 2) * thickness
        spread = None if error is None else np.atleast_1d(error)[order]
        axes.bar(
            place,
            np.atleast_1d(values)[order],
            0.92 * thickness,
            yerr=spread,
            label=label or None,
            color=fill,
            ecolor=style.GREY,
            error_kw={"lw": 1},
        )
    axes.axhline(0, color=style.INK, lw=0.8)
