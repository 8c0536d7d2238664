"""Figures of a discrete code: the images of its categories, and their classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from pyro_mivae.plotting import lookup, style


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
    rows, columns = matrix.shape
    figure = Figure(figsize=(0.62 * columns + 3, 0.62 * rows + 1.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        if value >= 0.005:
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALL - 2}
            colour = "white" if value > 0.6 else style.INK
            axes.text(column, row, f"{value:.2f}", color=colour, **place)
    axes.set_xticks(range(columns), [str(k) for k in range(columns)], fontsize=style.MEDIUM)
    axes.set_yticks(range(rows), [str(k) for k in classes], fontsize=style.MEDIUM)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Categories by class", fontsize=style.LARGE)
    axes.set_xlabel("category d", fontsize=style.MEDIUM)
    axes.set_ylabel("class", fontsize=style.MEDIUM)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("mean of q(d|x)", fontsize=style.MEDIUM)
    return figure
