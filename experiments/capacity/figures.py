"""The figure of `experiments.capacity`: where the noise is ignored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from experiments.capacity.trainings import MAP, PARTS, WEIGHTS, WITHOUT, Model, training_of
from experiments.poster.rows import IGNORED
from experiments.poster.trainings import EPOCHS_5
from experiments.tables import Row
from pyro_mivae.plotting import style

_AXES = {
    "sizes": ("code_dim", "noise_dim", "dimensions of the code c", "noise z of {}"),
    "networks": ("hidden_units", "hidden_layers", "units of a hidden layer", "{} hidden layers"),
}
SMALL = 3
"""Size of the mark of a single training."""
_TITLES = {"sizes": "Size of the code", "networks": "Networks"}
_COLUMNS = (0.0, *WEIGHTS)


def noise_map(rows: Sequence[Row]) -> Figure:
    """Draws the KL of the noise over the size of the code, and over that of the networks.

    A point is a training of 5 epochs, a line goes through the means over seeds, and a star is a
    training of 25 epochs. Below the dashed line the noise counts as ignored.

    Args:
        rows: Rows of the table.
    """
    figure = style.new_figure(6.4)
    grid = figure.subplots(2, len(_COLUMNS), sharey=True, sharex="row")
    for line, part in zip(grid, MAP, strict=True):
        for axes, weight in zip(line, _COLUMNS, strict=True):
            if part == "sizes" or weight in WEIGHTS:
                _panel(axes, rows, part, weight)
    keys = grid[1, 0]
    keys.axis("off")
    for axes, part, place in (
        (grid[0, 0], "sizes", "upper left"),
        (grid[1, 1], "networks", "lower left"),
    ):
        axes.set_ylabel("KL of the noise z, nats", fontsize=style.MEDIUM)
        axes.tick_params(labelleft=True)
        handles, labels = axes.get_legend_handles_labels()
        key = keys.legend(
            handles,
            labels,
            loc=place,
            title=_TITLES[part],
            fontsize=style.SMALL,
            title_fontsize=style.SMALL,
            frameon=False,
            alignment="left",
        )
        keys.add_artist(key)
    return figure


def _panel(axes: Axes, rows: Sequence[Row], part: str, weight: float) -> None:
    across, group, xlabel, words = _AXES[part]
    models = [model for model in PARTS[part if weight else WITHOUT] if model.mi_weight == weight]
    for place, value in enumerate(sorted({getattr(model, group) for model in models})):
        line = [model for model in models if getattr(model, group) == value]
        colour = [*style.PAIR, style.OTHERS[0]][place]
        marker = style.MARKERS[place]
        points = {getattr(model, across): _kl(rows, model, long=False) for model in line}
        known = {x: kl for x, kl in points.items() if kl}
        means = [float(np.mean(kl)) for kl in known.values()]
        label = words.format(value).replace("1 hidden layers", "1 hidden layer")
        axes.plot([*known], means, "-", color=colour, marker=marker, ms=6, mfc="white", label=label)
        for model in line:
            x = getattr(model, across)
            for kl in points[x]:
                axes.plot(x, kl, marker, color=colour, ms=SMALL, alpha=0.6, mew=0)
            for kl in _kl(rows, model, long=True):
                axes.plot(x, kl, "*", color=colour, ms=8, mec=style.INK, mew=0.5)
    axes.axhline(IGNORED, color=style.GREY, ls="--", lw=1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({getattr(model, across) for model in models})
    axes.set_xticks(ticks, [str(tick).replace("000", "k") for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    style.finish(axes, f"{_TITLES[part]}, λ = {weight:g}", xlabel)


def _kl(rows: Sequence[Row], model: Model, *, long: bool) -> list[float]:
    """KL of the noise of a model's trainings, the map's or the longer ones."""
    return [
        float(row["kl/z"])
        for row in rows
        if training_of(row).model == model and (row["steps"] > EPOCHS_5) is long
    ]
