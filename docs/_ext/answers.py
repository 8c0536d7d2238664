"""The figures on the first screens of two findings, from the published tables.

`redraw.py` writes them.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent))

from experiments.open_question.design.cells import blocks  # noqa: E402
from experiments.open_question.earlier import read_table  # noqa: E402
from experiments.open_question.rows import contrast, without_fresh  # noqa: E402
from pyro_mivae.plotting import style  # noqa: E402

DATA = (
    ("digits with set strokes", ("D3", "D4")),
    ("MNIST, resampled", ("D1", "D2")),
    ("sprites", ("D6a", "D6b")),
)
GROUPS = (
    ("5 + 5, mean,\nthe poster's", "mean", "5"),
    ("10 + 10, mean,\nthe poster's", "mean", "10"),
    ("10 + 10,\nstraight-through", "straight-through", "10"),
)


def open_question() -> Figure:
    """Draws the interaction on each kind of data, beside what would have counted."""
    rows = without_fresh(blocks(add_seeds=True), read_table(DOCS / "results/open_question.csv"))
    figure = style.new_figure(2.5)
    axes = figure.subplots()
    axes.axvspan(-0.10, 0.10, color=style.PALE, label="too small to count: within ±0.10 nat")
    axes.axvline(0, color=style.GREY, lw=1)
    labels = []
    for place, (name, data) in enumerate(DATA):
        result = contrast(rows, "I_T", arms=("T", "G"), data=data).contrast
        if result is None:
            raise ValueError(f"the table lacks the interaction on {name}: take the published one")
        low, high = result.interval(0.90)
        axes.plot([low, high], [place, place], color=style.PAIR[0], lw=3)
        label = "mean and 90 % interval over seeds" if place == 0 else None
        axes.plot(result.mean, place, "o", color=style.PAIR[0], ms=8, label=label)
        numbers = (
            f"{style.number(result.mean, 3)} ({style.number(low, 3)} to {style.number(high, 3)})"
        )
        axes.text(0.42, place, numbers, va="center", fontsize=style.MEDIUM)
        labels.append(f"{name}\n({result.num_seeds} seeds)")
    axes.set_yticks(range(len(DATA)), labels, fontsize=style.MEDIUM)
    axes.set(ylim=(len(DATA) - 0.4, -0.6), xlim=(-0.15, 0.66), xticks=np.arange(-0.1, 0.41, 0.1))
    axes.set_xlabel(
        "what matching prior and factor adds to the information, nat", fontsize=style.MEDIUM
    )
    axes.tick_params(labelsize=style.MEDIUM)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=style.MEDIUM, frameon=False)
    return figure


def poster() -> Figure:
    """Draws the score of the code beside what drawn images carry about it, run by run."""
    with (DOCS / "results/poster.csv").open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["lower/c/refitted"]]
    figure = style.new_figure(3.2)
    axes = figure.subplots()
    for place, (_, channel, size) in enumerate(GROUPS):
        runs = [
            row
            for row in table
            if (row["channel"], row["size"]) == (channel, size) and float(row["mi_weight"]) == 1
        ]
        for number, row in enumerate(runs):
            x = place + 0.16 * (number - (len(runs) - 1) / 2)
            information = (float(row["lower/c/refitted"]) + float(row["upper/c/refitted"])) / 2
            first = place == number == 0
            score = float(row["mi/c/mean"])
            axes.plot([x, x], [information, score], color=style.PALE, lw=2, zorder=0)
            axes.plot(x, score, "s", color=style.PAIR[1], ms=8, label="score" if first else None)
            label = "information that drawn images carry" if first else None
            axes.plot(x, information, "o", color=style.PAIR[0], ms=8, label=label)
    axes.set_xticks(range(len(GROUPS)), [name for name, *_ in GROUPS], fontsize=style.MEDIUM)
    axes.set_ylim(0, 26)
    axes.set_ylabel("nats about the code", fontsize=style.MEDIUM)
    axes.tick_params(labelsize=style.MEDIUM)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=style.MEDIUM, frameon=False)
    return figure
