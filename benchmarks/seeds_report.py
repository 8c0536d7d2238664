"""Table, CSV and figure of `benchmarks.seeds`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from pyro_mivae.plotting import style

COLOURS = {
    "fit": "#8da0cb",
    "fit, compiled": "#3b528b",
    "fit_many": "#fdae61",
    "fit_many, compiled": "#d95f02",
}


@dataclass(frozen=True)
class Row:
    """One way to train, at a width.

    Attributes:
        width: Units of both hidden layers.
        name: Name of the way.
        seeds: Seeds that are trained as one; 1 for `fit`.
        seconds: Time of a training for each seed, by the median step.
        ratio: Median of the ratios to the eager step of `fit` in the same round.
        low: Lower quartile of the ratios.
        high: Upper quartile of the ratios.
        first: Seconds of the preparation and the first step, for all seeds together.
    """

    width: int
    name: str
    seeds: int
    seconds: float
    ratio: float
    low: float
    high: float
    first: float


def table(rows: Sequence[Row], where: str, steps: int) -> str:
    """Writes a Markdown table for each width."""
    lines = [where]
    for width in dict.fromkeys(row.width for row in rows):
        lines += [
            "",
            f"**{width} units**",
            "",
            f"| | seeds as one | seconds per seed ({steps:,} steps) | ratio to `fit` (quartiles) | "
            "before the second step, s |",
            "|---" * 5 + "|",
        ]
        lines += [
            f"| `{row.name.partition(',')[0]}`{row.name.removeprefix('fit').removeprefix('_many')} "
            f"| {row.seeds} | {row.seconds:.1f} | {row.ratio:.2f} ({row.low:.2f} to "
            f"{row.high:.2f}) | {row.first:.1f} |"
            for row in rows
            if row.width == width
        ]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Sequence[Row], where: str) -> None:
    """Writes all numbers, with the machine in each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*asdict(rows[0]), "machine"])
        writer.writeheader()
        for row in rows:
            numbers = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            writer.writerow({**numbers, "machine": where})


def figure(path: Path, rows: Sequence[Row], where: str, steps: int) -> Figure:
    """Draws seconds per seed against the number of seeds, a panel for each width."""
    widths = list(dict.fromkeys(row.width for row in rows))
    drawn = style.new_figure(3.6)
    axes = drawn.subplots(1, len(widths), squeeze=False)[0]
    counts = sorted({row.seeds for row in rows})
    for ax, width in zip(axes, widths, strict=True):
        for name, colour in COLOURS.items():
            own = [row for row in rows if (row.width, row.name) == (width, name)]
            if not own:
                continue
            if name.startswith("fit_many"):
                x, y = [row.seeds for row in own], [row.seconds for row in own]
                ax.plot(x, y, "o-", color=colour, markersize=7, linewidth=2, label=name)
            else:  # one after the other: the same for any number
                ax.axhline(own[0].seconds, color=colour, linewidth=2, linestyle="--", label=name)
        ax.set_xscale("log")
        ax.set_xticks(counts)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(bottom=0)
        title = f"{width} units, {steps:,} steps"
        style.finish(ax, title, "seeds trained as one", "seconds per seed")
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, ncols=2, **style.OUTSIDE)
    machine, _, versions = where.partition(". ")
    drawn.suptitle(f"{machine}\n{versions}", fontsize=style.SMALL)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=style.DPI)
    return drawn
