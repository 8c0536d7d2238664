"""Fits, table, CSV and figure of `benchmarks.scaling`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from pyro_mivae.plotting import style

TITLES = {
    "batch": "batch size",
    "code": "dimensions of the code",
    "particles": "dual particles",
    "samples": "samples of the bound",
    "width": "network width",
    "data": "images in the data set",
}
TOLERANCE = 0.1
"""An exponent above the limit by more than this and two standard errors grows faster."""


@dataclass(frozen=True)
class Point:
    """Median, fastest and slowest of `steps` steps, in seconds, and operations in one."""

    x: int
    seconds: float
    fastest: float
    slowest: float
    steps: int
    operations: float


@dataclass(frozen=True)
class Curve:
    """Cost of a step against one size.

    Attributes:
        name: Name of the size.
        limit: Exponent of the largest term of the mathematics.
        points: Points in ascending order.
    """

    name: str
    limit: float
    points: Sequence[Point]

    def exponent(self) -> tuple[float, float]:
        """Fits the exponent of the time over the upper half, with its standard error."""
        return fit_exponent([p.x for p in self.points], [p.seconds for p in self.points])

    def expected(self) -> float:
        """Fits the exponent of the operations over the upper half."""
        return fit_exponent([p.x for p in self.points], [p.operations for p in self.points])[0]

    def verdict(self) -> str:
        """Says whether the time grows faster than the mathematics: yes, no, too noisy to tell."""
        value, error = self.exponent()
        error = 0.0 if math.isnan(error) else error
        if value - 2 * error > self.limit + TOLERANCE:
            return "**yes**"
        return "too noisy to tell" if value > self.limit + TOLERANCE else "no"


def upper_half(count: int) -> int:
    """Returns the index of the first point of the upper half, of three points at least."""
    return max(0, min(count // 2, count - 3))


def fit_exponent(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Fits a power law by least squares of log y on log x; its exponent and standard error.

    Over the upper half of the points; the error is NaN for fewer than three.
    """
    start = upper_half(len(xs))
    x, y = np.log(np.asarray(xs[start:], float)), np.log(np.asarray(ys[start:], float))
    deviation = x - x.mean()
    slope = float(deviation @ y / (deviation @ deviation))
    if len(x) < 3:
        return slope, math.nan
    residual = y - y.mean() - slope * deviation
    variance = float(residual @ residual) / (len(x) - 2)
    return slope, math.sqrt(variance / float(deviation @ deviation))


def table(curves: Sequence[Curve], peak: float) -> str:
    """Writes the Markdown table of the curves."""
    lines = [
        "| size | from, to | step, ms | exponent of the time | of the operations | limit "
        "| faster than the mathematics? | share of peak, from, to |",
        "|---" * 8 + "|",
    ]
    for curve in curves:
        first, last = curve.points[0], curve.points[-1]
        value, error = curve.exponent()
        shares = [100 * p.operations / p.seconds / peak for p in (first, last)]
        lines.append(
            f"| {TITLES[curve.name]} | {first.x:,}, {last.x:,} | {1e3 * first.seconds:.1f}, "
            f"{1e3 * last.seconds:.1f} | {value:.2f} ± {error:.2f} | {curve.expected():.2f} | "
            f"{curve.limit:g} | {curve.verdict()} | {shares[0]:.0f} %, "
            f"{shares[1]:.0f} % |"
        )
    return "\n".join(lines)


def write_csv(path: Path, curves: Sequence[Curve], peak: float, where: str) -> None:
    """Writes all points of all curves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        head = ["curve", "x", "seconds", "fastest", "slowest", "steps", "operations"]
        writer.writerow([*head, "share_of_peak", "exponent", "limit", "machine"])
        for curve in curves:
            exponent = curve.exponent()[0]
            for p in curve.points:
                times = [f"{t:.6g}" for t in (p.seconds, p.fastest, p.slowest)]
                share = p.operations / p.seconds / peak
                row = [curve.name, p.x, *times, p.steps, f"{p.operations:.6g}", f"{share:.4g}"]
                writer.writerow([*row, f"{exponent:.4g}", curve.limit, where])


def figure(path: Path, curves: Sequence[Curve], where: str) -> Figure:
    """Writes the figure of :func:`draw`, and returns it."""
    drawn = draw(curves, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=style.DPI)
    return drawn


def draw(curves: Sequence[Curve], where: str) -> Figure:
    """Draws a panel for each curve: medians, fitted law, and the limit through the last point."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    drawn = style.new_figure(2.3 * rows + 0.8)
    axes = list(drawn.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[len(curves) :]:
        ax.set_visible(False)
    for ax, curve in zip(axes, curves, strict=False):
        x = np.array([p.x for p in curve.points], float)
        y = 1e3 * np.array([p.seconds for p in curve.points])
        start = upper_half(len(x))
        value, _ = curve.exponent()
        middle = np.exp(np.log(x[start:]).mean()), np.exp(np.log(y[start:]).mean())
        law = middle[1] * (x[start:] / middle[0]) ** value
        ax.loglog(x, y, "o", color="#d95f02", markersize=4.5, zorder=3, label="measured")
        ax.loglog(x[start:], law, color="#d95f02", linewidth=1.5, label="fitted, upper half")
        limit = y[-1] * (x / x[-1]) ** curve.limit
        ax.loglog(x, limit, "--", color="0.5", label="the mathematics' limit")
        exponent = style.number(value)
        style.finish(ax, f"exponent {exponent} (limit {curve.limit:g})", TITLES[curve.name])
        ax.title.set_fontsize(style.MEDIUM)
        ax.set_ylabel("step, ms", fontsize=style.MEDIUM)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_formatter(NullFormatter())
            axis.set_major_locator(LogLocator(10, subs=(1, 3)))
            axis.set_major_formatter(EngFormatter(sep=""))
        low, high = y.min() / 2, y.max() * 2
        if curve.limit == 0:  # a flat curve should look flat
            low, high = y.min() / 5, y.max() * 5
        ax.set_ylim(low, high)
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(
        handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=style.MEDIUM
    )
    drawn.supxlabel(where, fontsize=style.TINY, color="0.35")
    return drawn
