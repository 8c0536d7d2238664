"""Table, CSV and figure of `benchmarks.peers`."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from pyro_mivae.plotting import style

CUT = 2.0
"""Ratio at which a bar is cut, so that one slow contender does not make all others alike."""
COLOURS = {"VAE": style.OTHERS[2], "MI-VAE": style.PAIR[1]}


@dataclass
class Row:
    """A contender at a task and a batch size; times in seconds, memory in MiB.

    Attributes:
        reason: Why there are no numbers.
        loss: Mean per datum at the weights that all start from, in nats.
        step: Median of the alternating steps.
        ratio: Median of the ratios to the hand-written step of the same round.
        low: Lower quartile of the ratios.
        high: Upper quartile of the ratios.
        epoch: Time of one pass over all images.
        alone: Median of the steps in a fresh process.
        first: Time from the start of that process to the end of its first step.
        peak: Memory of that process, or the GPU's, as `where` says.
    """

    task: str
    batch: int
    contender: str
    reason: str = ""
    loss: float = float("nan")
    loss_error: float = float("nan")
    step: float = float("nan")
    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    epoch: float = float("nan")
    alone: float = float("nan")
    first: float = float("nan")
    peak: float = float("nan")
    where: str = ""


def table(rows: list[Row], where: str, images: int) -> str:
    """Writes Markdown, one table for each task and batch size."""
    head = (
        "| | step, ms | ratio to by hand (quartiles) | step alone, ms | "
        f"epoch of {images:,}, s | peak memory, MiB | first step after, s | loss at the start |"
    )
    lines = [where]
    for task, batch in dict.fromkeys((row.task, row.batch) for row in rows):
        lines += ["", f"**{task}, batch {batch}**", "", head, "|---" * 8 + "|"]
        for row in rows:
            if (row.task, row.batch) != (task, batch):
                continue
            if row.reason:
                lines.append(f"| {row.contender} | {row.reason} |" + " |" * 6)
                continue
            lines.append(
                f"| {row.contender} | {1e3 * row.step:.2f} | {row.ratio:.2f} ({row.low:.2f} to "
                f"{row.high:.2f}) | {1e3 * row.alone:.2f} | {row.epoch:.2f} | {row.peak:.0f} | "
                f"{row.first:.1f} | {row.loss:.2f} ± {row.loss_error:.2f} |"
            )
    return "\n".join(lines).replace(" nan ", " – ") + "\n"


def write_csv(path: Path, rows: list[Row], where: str, used: str) -> None:
    """Writes all numbers, with the machine and the versions in each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*asdict(rows[0]), "machine", "versions"])
        writer.writeheader()
        for row in rows:
            numbers = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            writer.writerow({**numbers, "machine": where, "versions": used})


def figure(path: Path, rows: list[Row], where: str) -> Figure:
    """Writes the figure of :func:`draw`, and returns it."""
    drawn = draw(rows, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=style.DPI)
    return drawn


def draw(rows: list[Row], where: str) -> Figure:
    """Draws ratios at each batch size, memory and start-up, as bars; long ratios are cut."""
    ran = [row for row in rows if not row.reason]
    names = list(dict.fromkeys(row.contender for row in ran))
    batches = sorted({row.batch for row in ran})
    panels = [(f"step / hand-written, batch {b}", "ratio", b, 1.0) for b in batches]
    memory = f"peak memory of the {ran[0].where}, GiB"
    panels.append((memory, "peak", batches[0], 1 / 1024))
    panels.append(("start to first step, s", "first", batches[0], 1.0))
    lines = -(-len(panels) // 2)
    drawn = style.new_figure((0.4 * len(names) + 0.5) * lines + 0.8)
    axes = drawn.subplots(lines, 2, sharey=True, squeeze=False).flat
    for ax, (title, field, batch, unit) in zip(axes, panels, strict=False):
        for offset, (task, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
            chosen = [row for row in ran if (row.task, row.batch) == (task, batch)]
            y = [names.index(row.contender) + offset for row in chosen]
            values = [unit * getattr(row, field) for row in chosen]
            texts = [f"{v:.2f}" if v < 10 else f"{v:.0f}" for v in values]
            if field == "ratio":
                texts = [
                    f"{text} (cut)" if v > CUT else text
                    for v, text in zip(values, texts, strict=True)
                ]
                values = [min(v, CUT) for v in values]
            bars = ax.barh(y, values, 0.38, color=colour, label=task)
            ax.bar_label(bars, texts, padding=2, fontsize=style.TINY)
        if field == "ratio":
            ax.axvline(1, color="0.3", linewidth=1, linestyle=":")
        style.finish(ax, "", xlabel=title)
        ax.grid(visible=False)
        ax.margins(x=0.22)
        ax.tick_params(axis="y", length=0)
    for ax in axes[len(panels) :]:
        ax.remove()
    axes[0].set_yticks(range(len(names)), names, fontsize=style.SMALL)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, ncols=2, **{**style.OUTSIDE, "loc": "outside upper left"})
    drawn.supxlabel(where, fontsize=style.TINY, color="0.35")
    return drawn
