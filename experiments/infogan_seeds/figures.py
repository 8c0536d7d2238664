"""The figures of `experiments.infogan_seeds`: every seed's numbers, every seed's images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.infogan.measurements import PAPER
from experiments.infogan_seeds.trainings import FORMS, Form
from experiments.tables import Row, at
from pyro_mivae.plotting import lookup, style
from pyro_mivae.runs import groups
from pyro_mivae.runs.groups import read

PANELS = {
    "class_accuracy": "class\naccuracy",
    "thickness": "about\nthickness, nats",
    "slant": "about\nslant, nats",
    "alignment": "alignment,\nnats",
}


def numbers(rows: Sequence[Row]) -> Figure:
    """Draws a dot for each run, a row for each form; the ring is the mean over seeds."""
    forms = [form for form in FORMS if at(rows, form=form.name, channel="mean")]
    figure = style.new_figure(1.5 + 0.32 * len(forms))
    for axes, (name, title) in zip(
        figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True
    ):
        for place, form in enumerate(forms):
            values = [_value(row, name) for row in at(rows, form=form.name, channel="mean")]
            known = [value for value in values if value is not None]
            colour = style.PAIR[form.module.endswith("mnist")]
            axes.plot(known, [place] * len(known), "o", color=colour, ms=4, alpha=0.6, mew=0)
            if known:
                axes.plot([np.mean(known)], [place], "o", ms=8, mfc="none", mec=colour, mew=1.5)
        style.finish(axes, title)
        axes.set_yticks(range(len(forms)), [form.words for form in forms])
        axes.set_ylim(len(forms) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        if name == "class_accuracy":
            axes.axvline(PAPER, color=style.GREY, ls="--", label=f"InfoGAN's paper: {PAPER}")
            axes.set_xlim(0, 1.05)
        else:
            axes.set_xlim(left=-0.06 * axes.get_xlim()[1])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="Dots: runs; rings: means over seeds", **style.OUTSIDE)
    return figure


def _value(row: Row, name: str) -> float | None:
    if name.split("/")[0] in ("thickness", "slant"):
        return max(float(row[f"c[{k}]/{name}"]) for k in range(2))
    return float(row[name]) if name in row else None


def traversals(form: Form, folder: Path, seeds: int) -> Figure | None:
    """Draws each seed's images as each of the two codes moves; None without a finished run."""
    sheets = {}
    for seed in range(seeds):
        path = folder / form.training(seed).name
        if (path / groups.FILE).exists():
            images = lookup.get_values(read(path), "traversal", "x_mean")
            if len(images) == 2:
                sheets[seed] = images
    if not sheets:
        return None
    figure = style.new_figure(3.5 * len(sheets))
    panels = figure.subplots(len(sheets), 2, squeeze=False)
    for line, (seed, both) in zip(panels, sheets.items(), strict=True):
        for code, (axes, images) in enumerate(zip(line, both, strict=True)):
            rows, columns, height, width = images.shape
            sheet = images.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
            axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"seed {seed}: {style.tex(f'c[{code}]')} moves", fontsize=style.MEDIUM)
            axes.set(xticks=[], yticks=[])
    return figure
