"""The figures of a run, each a function of a history or of ArviZ's groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyro_mivae.plotting import lookup, saving, style
from pyro_mivae.plotting.category import categories, categories_by_class
from pyro_mivae.plotting.information import dimension_use, information_bars, pairwise_information
from pyro_mivae.runs.groups import read
from pyro_mivae.runs.history import History
from pyro_mivae.runs.names import as_label


def training_curves(history: History) -> Figure:
    """Draws the loss and negative ELBO, the KL of each site, and MI of each site and channel.

    The range of each panel is that of the last nine tenths of the steps. MI without a
    channel is the loss's own; it is left out where a split has it by channel.

    Args:
        history: History with rows ``train`` and ``validation``, in nats per datum.
    """
    figure = style.new_figure(6.5)
    panels = figure.subplot_mosaic([["loss", "kl"], ["mi", "mi"]])
    loss, kl, mi = panels.values()
    columns = [column.split("/") for column in history.columns()]
    # kl/c, mi/c and mi/c/sample name a site, mi/sample none.
    totals = [["mi", channel] for channel in style.DASHES]
    names_of_sites = [column[1] for column in columns if column[1:] and column not in totals]
    others = zip(
        sorted(set(names_of_sites) - set(style.SITES)), itertools.cycle(style.OTHERS), strict=False
    )
    sites = style.SITES | {site: (as_label(site), colour) for site, colour in others}
    for split, dash in (("train", "-"), ("validation", "--")):
        style.curve(loss, history, split, {"loss": 1}, f"loss, {split}", style.INK, dash)
        for terms in ({"log_likelihood": -1, "kl": 1}, {"elbo": -1}):
            style.curve(loss, history, split, terms, f"−ELBO, {split}", style.GREY, dash)
        for site, (name, colour) in sites.items():
            style.curve(kl, history, split, {f"kl/{site}": 1}, f"{name}, {split}", colour, dash)
            rows = [row for row in history.rows if row["split"] == split]
            if not any(f"mi/{site}/{channel}" in row for row in rows for channel in style.DASHES):
                own = {f"mi/{site}": 1}
                style.curve(mi, history, split, own, f"{name}, {split}", colour, dash)
            for channel, dashes in style.DASHES.items():
                label = f"{name}, {split}, channel {channel}"
                of_split = "-" if split == "train" else dashes
                style.curve(
                    mi, history, split, {f"mi/{site}/{channel}": 1}, label, colour, of_split
                )
    titles = ("Loss", "KL(q || p)", "MI bound (channel mean: score)")
    for axes, title in zip(panels.values(), titles, strict=True):
        style.finish(axes, title, "step", "nats per datum")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        style.skip_start(axes)
    for axes in (loss, kl):
        style.legend_below(axes, -0.24)
    style.legend_below(mi, -0.24, columns=2)
    return figure


def reconstructions(tree: xr.DataTree, *, rows: int = 2, columns: int | None = None) -> Figure:
    """Draws originals above the decoder's mean images; with labels, a column for each class.

    Args:
        tree: Groups of a run, with ``posterior_predictive``, and ``constant_data`` or
            ``observed_data``.
        rows: Number of pairs of rows.
        columns: Number of images in a row; by default the number of classes, or 10.
    """
    means = lookup.get_values(tree, "posterior_predictive", "x_mean")[0, 0]
    constant = lookup.get_group(tree, "constant_data")
    if "grey" in constant:
        originals = constant["grey"].values / 255.0
    else:
        originals = lookup.get_values(tree, "observed_data", "x")
    chosen = np.arange(len(means))
    if "label" in constant:
        labels = constant["label"].values
        # The first image of each class, then the second of each, ...
        rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
        chosen = np.lexsort((labels, rank))
        columns = columns or len(np.unique(labels))
    columns = min(columns or 10, len(means))
    chosen = chosen[: rows * columns]
    rows = -(-len(chosen) // columns)
    grid: Any = np.full((rows, 2, columns, *means.shape[1:]), np.nan)
    for number, image in enumerate(chosen):
        row, column = divmod(number, columns)
        grid[row, :, column] = originals[image], means[image]
    figure, axes = style.mosaic(
        grid.reshape(-1, *grid.shape[2:]), "Images and their reconstructions (decoder means)"
    )
    axes.set_yticklabels(["original", "reconstruction"] * rows)
    axes.set_xticks([])
    return figure


def prior_samples(tree: xr.DataTree, *, columns: int = 10) -> Figure:
    """Draws the decoder's mean images at draws from the prior.

    Args:
        tree: Groups of a run, with ``prior_predictive``.
        columns: Number of images in a row.
    """
    means = lookup.get_values(tree, "prior_predictive", "x_mean")[0]
    columns = min(columns, len(means))
    rows = len(means) // columns
    grid = means[: rows * columns].reshape(rows, columns, *means.shape[1:])
    figure, axes = style.mosaic(grid, "Samples from the prior (decoder means)")
    axes.set(xticks=[], yticks=[])
    return figure


def traversals(tree: xr.DataTree, *, channel: str | None = None) -> Figure:
    """Draws a row for each code dimension over the prior's quantiles, by descending MI.

    Args:
        tree: Groups of a run, with ``traversal`` and, for order and labels, ``information``.
        channel: Channel of the MI; by default ``"sample"`` where it was measured.
    """
    images = lookup.get_values(tree, "traversal", "x_mean")
    order, labels, name = lookup.by_information(tree, "c", len(images), channel)
    figure, axes = style.mosaic(images[order], "One code dimension moves, all else stays")
    axes.set_yticklabels(labels)
    axes.set_xticklabels(
        [f"{100 * q:g}%" for q in lookup.get_values(tree, "traversal", "quantile")]
    )
    axes.set_xlabel("quantile of the prior", fontsize=style.MEDIUM)
    axes.set_ylabel(name or "code dimension", fontsize=style.MEDIUM)
    return figure


def codes_by_class(tree: xr.DataTree, *, channel: str | None = None) -> Figure:
    """Draws the posterior of each code dimension by class, a panel each, by descending MI.

    Args:
        tree: Groups of a run, with ``posterior`` and the labels in ``constant_data``.
        channel: Channel of the MI; by default ``"sample"`` where it was measured.
    """
    image_labels = lookup.get_values(tree, "constant_data", "label")
    codes = np.moveaxis(
        lookup.get_values(tree, "posterior", "c"), 2, 0
    )  # image, chain, draw, c_dim
    codes = codes.reshape(len(codes), -1, codes.shape[-1])
    order, labels, name = lookup.by_information(tree, "c", codes.shape[-1], channel)
    columns = min(len(order), 3)
    rows = -(-len(order) // columns)
    figure = style.new_figure(2.1 * rows + 0.4)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    classes = np.unique(image_labels)
    for d, label, axes in zip(order, labels, panels, strict=False):
        values = [codes[image_labels == k, :, d].ravel() for k in classes]
        violins = axes.violinplot(values, range(len(classes)), widths=0.9, showextrema=False)
        for body, colour in zip(violins["bodies"], itertools.cycle(style.CLASSES), strict=False):
            body.set(facecolor=colour, alpha=0.9)
        medians = [np.median(v) for v in values]
        for colour, size, edge in (("white", 9, 3), (style.INK, 8, 1.5)):
            axes.plot(medians, "_", color=colour, markersize=size, mew=edge)
        style.finish(axes, label)
        axes.grid(visible=False, axis="x")
        axes.set_xticks(range(len(classes)), [str(k) for k in classes])
    for axes in panels[len(order) :]:
        axes.set_axis_off()
    note = f"; above: {name}" if name else ""
    figure.supxlabel(f"class (line: median){note}", fontsize=style.MEDIUM)
    figure.supylabel("code, draws from q(c|x)", fontsize=style.MEDIUM)
    return figure


def redraw(folder: str | Path) -> dict[str, Path]:
    """Draws every figure of a run's folder anew, as PNG files in its ``figures``.

    Args:
        folder: Folder with ``history.csv`` and ``posterior.nc``. The settings in its
            ``config.json``, if there is one, head the figures.

    Returns:
        The files by the name of the function that draws them. Figures of measurements or labels
        that the run lacks are left out.

    Raises:
        FileNotFoundError: If the folder has no history or no posterior.
    """
    folder = Path(folder)
    tree = read(folder)
    if not (folder / "history.csv").is_file():
        raise FileNotFoundError(f"no history.csv in {folder}: expected the folder of a run")
    figures = {"training_curves": training_curves(History.read_csv(folder / "history.csv"))}
    functions: list[Callable[[xr.DataTree], Figure]]
    functions = [reconstructions, prior_samples, traversals]
    measured = lookup.get_group(tree, "information")
    functions += [information_bars] if any(f"kl_{s}" in measured for s in style.SITES) else []
    functions += [dimension_use] if "resampling_loss_c" in measured else []
    functions += [pairwise_information] if "pairwise_mi" in measured else []
    labelled = "label" in lookup.get_group(tree, "constant_data")
    functions += [codes_by_class] if labelled else []
    if lookup.get_group(tree, "categories"):
        functions += [categories, categories_by_class] if labelled else [categories]
    figures |= {function.__name__: function(tree) for function in functions}
    return saving.save(figures, folder)
