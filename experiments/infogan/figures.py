"""Figures of an InfoGAN run, drawn from its history and its groups alone."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from pyro_mivae.plotting import lookup, saving, style
from pyro_mivae.plotting.category import share_table
from pyro_mivae.runs.groups import read
from pyro_mivae.runs.history import History

FACTORS = {"thickness": "pixels", "slant": "tangent", "width": "pixels"}
"""Factors of a digit, with their units."""


def training(history: History) -> Figure:
    """Draws the losses of both players, the discriminator's parts, and the information."""
    figure = Figure(figsize=(16, 5.5), layout="constrained")
    players, parts, information = figure.subplots(1, 3)
    of_players = {"discriminator": style.PAIR[0], "generator": style.PAIR[1]}
    of_parts = {"discriminator/real": style.OTHERS[0], "discriminator/generated": style.OTHERS[2]}
    for axes, names in ((players, of_players), (parts, of_parts)):
        for name, colour in names.items():
            style.curve(axes, history, "train", {name: 1}, name, colour, "-")
    for site, (name, colour) in style.SITES.items():
        style.curve(information, history, "train", {f"mi/{site}": 1}, name, colour, "-")
    titles = ("Losses of the players", "The discriminator's loss", "Information term")
    for axes, title in zip((players, parts, information), titles, strict=True):
        style.finish(axes, title, "step", "nats per datum")
        style.legend_below(axes)
    return figure


def samples(tree: xr.DataTree, *, columns: int = 10) -> Figure:
    """Draws images at draws from the prior."""
    images = lookup.get_values(tree, "prior_predictive", "x_mean")[0]
    rows = len(images) // columns
    grid = images[: rows * columns].reshape(rows, columns, *images.shape[1:])
    figure, axes = style.mosaic(grid, "Images from draws of the prior")
    axes.set(xticks=[], yticks=[])
    return figure


def traversal(tree: xr.DataTree, code: int) -> Figure:
    """Draws a column for each category, down which one code moves."""
    images = lookup.get_values(tree, "traversal", "x_mean")[code]
    figure, axes = style.mosaic(images, f"Code {style.tex(f'c[{code}]')} moves down each column")
    quantiles = lookup.get_values(tree, "traversal", "quantile")
    axes.set_yticklabels([f"{100 * q:g}%" for q in quantiles])
    axes.set_ylabel("quantile of the prior", fontsize=style.MEDIUM)
    axes.set_xticklabels([str(k) for k in range(images.shape[1])])
    axes.set_xlabel("category d", fontsize=style.MEDIUM)
    return figure


def responses(tree: xr.DataTree) -> Figure:
    """Draws what is measured of the images while one code moves and all else is drawn."""
    group = lookup.get_group(tree, "response")
    figure = Figure(figsize=(16, 5.5), layout="constrained")
    colours = [*style.PAIR, *style.OTHERS]
    for axes, (name, unit) in zip(figure.subplots(1, 3), FACTORS.items(), strict=True):
        for code in range(group.sizes["code"]):
            mean, spread = group[name].values[code], group[f"{name}_sd"].values[code]
            colour = colours[code % len(colours)]
            quantiles = 100 * group["quantile"].values
            axes.plot(quantiles, mean, color=colour, lw=2, label=f"{style.tex(f'c[{code}]')} moves")
            band = (mean - spread, mean + spread)
            axes.fill_between(quantiles, *band, color=colour, alpha=0.15, lw=0)
        style.finish(axes, name.capitalize(), "quantile of the code, %", unit)
        style.legend_below(axes)
    return figure


def categories(tree: xr.DataTree) -> Figure:
    """Draws which digits the images of each category are, as the reader classifies them."""
    group = lookup.get_group(tree, "categories")
    shares = group["share"].values
    names = [str(k) for k in group["label"].values], [str(k) for k in range(len(shares))]
    return share_table(
        *(shares, *names),
        title="Digits of each category",
        xlabel="digit, told by the reader",
        ylabel="category d",
        of="share of the images",
    )


def redraw(folder: Path) -> dict[str, Path]:
    """Draws all figures of a run's folder from its files."""
    tree, history = read(folder), History.read_csv(folder / "history.csv")
    figures = {
        "training": training(history),
        "samples": samples(tree),
        "responses": responses(tree),
    }
    for code in range(lookup.get_group(tree, "traversal").sizes["code"]):
        figures[f"traversal_c{code}"] = traversal(tree, code)
    if "categories" in tree.children:
        figures["categories"] = categories(tree)
    return saving.save(figures, folder)
