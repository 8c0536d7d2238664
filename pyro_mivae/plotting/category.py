"""Figures of a discrete code: the images of its categories, and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_mivae.plotting import lookup, style

WRITTEN = 0.1
"""Shares below it are seen by their colour alone."""


def categories(tree: xr.DataTree) -> Figure:
    """Draws the decoder's mean images, a column for each category; all else is from the prior.

    Args:
        tree: Groups of a run, with ``categories``.
    """
    images = lookup.get_values(tree, "categories", "x_mean")
    figure, axes = style.mosaic(images, "The category changes, all else stays")
    axes.set_yticks([])
    axes.set_xticklabels([str(k) for k in range(images.shape[1])])
    axes.set_xlabel("category d", fontsize=style.MEDIUM)
    axes.set_ylabel("draws from the prior", fontsize=style.MEDIUM)
    return figure


def categories_by_class(tree: xr.DataTree) -> Figure:
    """Draws the mean probability of every category by class.

    Args:
        tree: Groups of a run, with ``q_d`` in ``sample_stats`` and the labels in ``constant_data``.
    """
    probability = lookup.get_values(tree, "sample_stats", "q_d")
    labels = lookup.get_values(tree, "constant_data", "label")
    classes = np.unique(labels)
    matrix = np.stack([probability[labels == k].mean(0) for k in classes])
    return share_table(
        *(matrix, [str(k) for k in range(matrix.shape[1])], [str(k) for k in classes]),
        title="Categories by class",
        xlabel="category d",
        ylabel="class",
        of="mean of q(d|x)",
    )


def share_table(
    shares: NDArray[Any],
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    of: str,
) -> Figure:
    """Draws a matrix of shares as a heat map, with the numbers of those from 0.1 up.

    Args:
        shares: Shares from 0 to 1, (rows, columns).
        columns: Names of the columns.
        rows: Names of the rows.
        title: Title of the figure.
        xlabel: What the columns are.
        ylabel: What the rows are.
        of: What the shares are, for the colour bar.
    """
    figure = style.new_figure(0.32 * len(rows) + 1.1)
    axes = figure.subplots()
    image = style.heat_map(
        axes,
        shares,
        columns=columns,
        rows=rows,
        top=1.0,
        texts=style.numbers(shares, WRITTEN),
    )
    axes.set_title(title, fontsize=style.LARGE)
    axes.set_xlabel(xlabel, fontsize=style.MEDIUM)
    axes.set_ylabel(ylabel, fontsize=style.MEDIUM)
    bar = figure.colorbar(image, ax=axes)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.set_label(of, fontsize=style.MEDIUM)
    return figure
