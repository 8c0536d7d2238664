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
        groups += _bars(data, f"aggregate_mi_{site}", "$I_q$(code; x) of the data", style.INK)
        return groups + _bars(data, f"kl_{site}", "KL(q || p)", style.GREY)

    return _by_dimension(tree, [bars], ["nats per datum"])


def dimension_use(tree: xr.DataTree) -> Figure:
    """Draws the use of each dimension: reconstruction lost without it, and the means' variance.

    Args:
        tree: Groups of a run, with ``information``.
    """
    rows = [
        lambda data, site, colour: _bars(data, f"resampling_loss_{site}", "", colour),
        lambda data, site, colour: _bars(data, f"activity_{site}", "", colour),
    ]
    names = [
        "log-likelihood lost where\ndrawn from the prior (nats)",
        "variance of the\nposterior mean",
    ]
    return _by_dimension(tree, rows, names)


def pairwise_information(tree: xr.DataTree) -> Figure:
    """Draws the information between every two dimensions under the data.

    Args:
        tree: Groups of a run, with ``pairwise_mi`` in ``information``.
    """
    matrix = lookup.get_values(tree, "information", "pairwise_mi")
    error = lookup.get_values(tree, "information", "pairwise_mi_se")
    names = [style.tex(str(name)) for name in lookup.get_values(tree, "information", "dimension")]
    size = 0.62 * len(names) + 2.2
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(style.PALE)
    top = max(float(np.nanmax(matrix, initial=0.0)), 0.01)
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=top)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = "white" if value > 0.6 * top else style.INK
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALL - 2}
            axes.text(column, row, style.number(value), color=colour, **place)
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(range(len(names)), names, fontsize=style.MEDIUM)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Information between dimensions under q(z)", fontsize=style.LARGE)
    note = f"standard errors up to {np.nanmax(error, initial=0.0):.2f}"
    axes.set_xlabel(note, fontsize=style.SMALL)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
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
    figure = Figure(figsize=(5.2 * len(codes) + 0.6, 11), layout="constrained")
    panels = figure.subplots(2, len(codes), sharey="row", squeeze=False)
    for column, name in enumerate(codes):
        title, colour = CODES.get(name, (name, style.INK))
        one = data.sel(codes=name)
        model, aggregate = panels[:, column]
        for guide, shade in zip(one["guide"].values, (colour, style.OTHERS[0]), strict=False):
            _draw_sandwich(model, one.sel(guide=guide), str(guide), shade)
        style.finish(model, f"Model: I({name}; x'), {title}", "samples K", _nats(column))
        num_data = one["num_data"].values
        values = one["aggregate_information"], one["aggregate_information_se"]
        errorbars = {"fmt": "-o", "color": colour, "lw": 2, "capsize": 3}
        aggregate.errorbar(num_data, *values, label="$I_q$ of N data", **errorbars)
        aggregate.plot(num_data, np.log(num_data), ":", color=style.INK, label="log N")
        aggregate.axhline(float(one["kl"]), ls="--", color=style.GREY, label="mean KL(q || p)")
        style.finish(aggregate, f"Data: $I_q$({name}; x), {title}", "data N", _nats(column))
        for axes in (model, aggregate):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
            style.legend_below(axes, -0.16)
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
            lw=2,
            capsize=3,
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
    width = min(max(8.0, 1.15 * sum(sizes) + 1.5), 20.0)
    height = 6.0 if len(rows) == 1 else 3.4 * len(rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(len(rows), len(sites), sharey="row", squeeze=False, width_ratios=sizes)
    for number, (make, name) in enumerate(zip(rows, names, strict=True)):
        for axes, site, size in zip(panels[number], sites, sizes, strict=True):
            title, colour = style.SITES[site]
            order, _, _ = lookup.by_information(tree, site, size)
            _draw_bars(axes, make(data, site, colour), order)
            ylabel = name if site == sites[0] else ""
            style.finish(axes, title.capitalize() if number == 0 else "", ylabel=ylabel)
            axes.grid(visible=False, axis="x")
            ticks = [lookup.tick(site, d) for d in order]
            axes.set_xticks(range(size), ticks, fontsize=style.MEDIUM)
            style.legend_below(axes, -0.09)
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
