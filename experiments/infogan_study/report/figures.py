"""The figures of `experiments.infogan_study`: effects from the table, sheets from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.estimates import Mean
from experiments.infogan_study.design.cells import CELLS
from experiments.infogan_study.jobs.settings import TRAVERSALS
from experiments.infogan_study.rules.properties import CONFIRMATORY, inside
from experiments.infogan_study.rules.verdict import Result, estimate
from experiments.plots.forest import forest_plot
from experiments.tables import Row, leaving_out
from pyro_mivae.plotting import style

EFFECTS = "effects"
FIRST = 0
"""Seed of the models that are shown: the first, whatever came out."""


def draw(rows: Sequence[Row], judged: Sequence[Result]) -> dict[str, Figure]:
    """Draws the effects with their intervals: InfoGAN's properties as lines."""
    if not judged:
        return {}
    groups: dict[str, dict[str, Mean]] = {"all cells": {r.contrast.name: r.mean for r in judged}}
    for training in ("gan", "vae"):
        name = f"{training.upper()}s alone"
        groups[name] = {c.name: estimate(rows, c) for c in inside(training)}
    names = [result.contrast.name for result in judged]
    lines: list[Row] = []
    for group, means in groups.items():
        for name in names:
            if name in means and len(means[name].values) > 1:
                low, high = means[name].interval()
                line = {"panel": "Effect on the alignment", "line": name, "group": group}
                lines.append({**line, "value": means[name].mean, "low": low, "high": high})
    margins = {c.name: c.margin for c in CONFIRMATORY if c.name in names}
    label = "nats, mean over seeds and 95 % interval; shaded: the margin"
    return {EFFECTS: forest_plot(lines, label=label, margins=margins)}


def sheets(folder: Path) -> dict[str, Figure]:
    """Draws what each code does to the images of the first seed of every cell.

    The pictures are made of the run's own folder: a cell whose run is not there has none.
    """
    figures = {}
    for cell in CELLS:
        path = folder / cell.run_name(FIRST) / TRAVERSALS
        if not path.exists():
            continue
        with leaving_out(path), np.load(path) as arrays:
            images = arrays["images"] / 255
            for k, moved in enumerate(images):
                title = f"{cell.name}: code {style.tex(f'c[{k}]')} moves down each column"
                figure, axes = style.mosaic(moved, title)
                axes.set(xticks=[], yticks=[])
                figures[f"sheet_{cell.name}_c{k}"] = figure
    return figures
