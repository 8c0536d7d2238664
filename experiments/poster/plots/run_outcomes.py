"""Figures of finished runs: their measured information, and whether their noise is ignored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from experiments.plots.rows import Rows, check_columns, distinct
from pyro_mivae.plotting import style

GUIDES = {"own": style.GREY, "refitted": ""}
"""Colours of the intervals, by guide; "" for the site's."""
YES, NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


def information_columns(rows: Rows) -> Figure:
    """Draws score, bound and the interval of the information of c and z, by run.

    A band for each run. Intervals reach from L_K to U_K of
    :func:`~pyro_mivae.information.sandwich` with the run's own guide and with one refitted to
    generated data; an infinite one runs to the rim with an arrow, one that is NaN is not drawn.
    Left of zero, which is marked, numbers are negative.

    Args:
        rows: One for each run and site, with ``label``, ``channel`` (of the training, or
            ``none``), ``site`` (``c`` or ``z``) and, in nats per datum, ``score`` (channel mean),
            ``bound`` (channel sample), ``own_lower``, ``own_upper``, ``refitted_lower`` and
            ``refitted_upper``.

    Raises:
        ValueError: If there is no row, or one lacks a column.
    """
    ends = [f"{guide}_{end}" for guide in GUIDES for end in ("lower", "upper")]
    needed = ("label", "channel", "site", "score", "bound", *ends)
    check_columns(rows, needed, "a row for each run and site")
    names = list(dict.fromkeys((str(r["label"]), str(r["channel"])) for r in rows))
    sites = [site for site in style.SITES if any(r["site"] == site for r in rows)]
    numbers = [float(r[name]) for r in rows for name in ("score", "bound", *ends)]
    finite = [n for n in numbers if math.isfinite(n)] + [0.0]
    room = 0.06 * (max(finite) - min(finite) or 1.0)
    rim = min(finite) - room, max(finite) + room
    figure = style.new_figure(0.52 * len(names) + 1.4)
    panels = figure.subplots(1, len(sites), sharex=True, sharey=True, squeeze=False)[0]
    for axes, site in zip(panels, sites, strict=True):
        title, colour = style.SITES[site]
        style.finish(axes, f"I({site}; x'), {title}", "nats per datum")
        axes.grid(visible=False, axis="y")
        axes.axvspan(rim[0], 0, color=style.PALE, alpha=0.5, lw=0, zorder=0)
        axes.axvline(0, color=style.INK, lw=1.2)
        for place in range(1, len(names)):
            axes.axhline(place - 0.5, color=style.PALE, lw=1)
        for row in rows:
            if row["site"] == site:
                place = names.index((str(row["label"]), str(row["channel"])))
                _draw_column(axes, row, place, colour, rim)
        axes.set(xlim=rim, ylim=(len(names) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        ticks = [f"{label}\n{style.training(channel)}" for label, channel in names]
        axes.set_yticks(range(len(names)), ticks, fontsize=style.SMALL)
    figure.legend(handles=_legend(), ncols=2, **style.OUTSIDE)
    return figure


def _draw_column(
    axes: Axes, row: Mapping[str, Any], place: float, colour: str, rim: tuple[float, float]
) -> None:
    for (guide, shade), below in zip(GUIDES.items(), (0.08, 0.3), strict=True):
        ends = [float(row[f"{guide}_{end}"]) for end in ("lower", "upper")]
        if any(map(math.isnan, ends)):
            continue
        shown = [e if math.isfinite(e) else r for e, r in zip(ends, rim, strict=True)]
        options: dict[str, Any] = {"color": shade or colour, "label": f"{guide} guide"}
        axes.plot(shown, [place + below] * 2, lw=3, solid_capstyle="butt", **options)
        for end, at, arrow in zip(ends, shown, "<>", strict=True):
            cap = ("|", 7, 1.5) if math.isfinite(end) else (arrow, 7, 0)
            axes.plot(
                at,
                place + below,
                cap[0],
                color=options["color"],
                ms=cap[1],
                mew=cap[2],
                clip_on=False,
            )
    marks: dict[str, Any] = {"color": colour, "ms": 6, "mew": 1.5, "zorder": 4}
    axes.plot(float(row["bound"]), place - 0.14, "o", label="bound", **marks)
    axes.plot(float(row["score"]), place - 0.34, "D", label="score", mfc="white", **marks)


def _legend() -> list[Line2D]:
    ink: dict[str, Any] = {"color": style.INK, "ms": 6, "mew": 1.5}
    return [
        Line2D(
            [], [], marker="D", ls="", mfc="white", label="score, channel mean (no bound)", **ink
        ),
        Line2D([], [], marker="o", ls="", label="bound, channel sample", **ink),
        Line2D([], [], color=style.GREY, lw=3, label="$L_K$ to $U_K$, the run's own guide"),
        Line2D([], [], color=style.INK, lw=3, label="$L_K$ to $U_K$, refitted guide (coloured)"),
    ]


def outcomes(rows: Rows, *, threshold: float | None = None) -> Figure:
    """Draws the final KL of z by variant, a point for each seed, and how often z is ignored.

    Args:
        rows: One for each run, with ``variant``, ``seed``, ``kl_z`` in nats per datum and
            ``ignored`` (true or false).
        threshold: KL below which z counts as ignored, to be drawn.

    Raises:
        ValueError: If there is no row, one lacks a column, or ``ignored`` is neither.
    """
    check_columns(rows, ("variant", "seed", "kl_z", "ignored"), "a row for each run")
    variants, seeds = distinct(rows, "variant"), distinct(rows, "seed")
    figure = style.new_figure(0.6 * len(variants) + 1.4)
    axes = figure.subplots()
    colour = style.SITES["z"][1]
    heights = dict(zip(seeds, np.linspace(0.3, -0.3, len(seeds) + 2)[1:-1], strict=True))
    for place, variant in enumerate(variants):
        chosen = [r for r in rows if str(r["variant"]) == variant]
        flags = [_is_true(r["ignored"]) for r in chosen]
        for row, ignored in zip(chosen, flags, strict=True):
            options: dict[str, Any] = {"ms": 6, "mew": 1.5, "color": colour, "clip_on": False}
            options["mfc"] = "white" if ignored else colour
            axes.plot(float(row["kl_z"]), place + heights[str(row["seed"])], "o", **options)
        share = f"{sum(flags)} of {len(flags)}  ({100 * sum(flags) / len(flags):.0f} %)"
        right: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(),
            "fontsize": style.MEDIUM,
        }
        axes.text(1.03, place, share, ha="left", va="center", **right)
        if place:
            axes.axhline(place - 0.5, color=style.PALE, lw=1)
    style.finish(axes, "", "final KL of z in nats per datum")
    axes.text(1.03, -0.55, "z ignored", va="bottom", weight="bold", **right)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_yticks(range(len(variants)), variants, fontsize=style.MEDIUM)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=style.GREY, lw=1, zorder=1)
    handles = [Line2D([], [], marker="o", ls="", color=colour, ms=6, label="z used")]
    hollow: dict[str, Any] = {"mfc": "white", "mew": 1.5, "label": "z ignored"}
    handles.append(Line2D([], [], marker="o", ls="", color=colour, ms=6, **hollow))
    if threshold is not None:
        label = f"z counts as ignored below {threshold:g} nats"
        handles.append(axes.axvline(threshold, color=style.INK, ls="--", lw=1, label=label))
    figure.legend(
        handles=handles,
        ncols=3,
        title="A point is a seed; a seed has the same height in each variant",
        **style.OUTSIDE,
    )
    return figure


def _is_true(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*YES, *NO):
        raise ValueError(f"ignored is {value!r}: expected true or false")
    return text in YES


def by_init_and_order(
    matrix: NDArray[Any], *, init_seeds: Sequence[Any], order_seeds: Sequence[Any]
) -> Figure:
    """Draws the final KL of z for each seed of the weights with each of the data's order.

    Args:
        matrix: KL of z in nats per datum, (init_seeds, order_seeds); NaN for a run that is not
            there.
        init_seeds: Names of the rows.
        order_seeds: Names of the columns.

    Raises:
        ValueError: If the matrix is empty or does not fit the seeds.
    """
    expected = len(init_seeds), len(order_seeds)
    if matrix.shape != expected or matrix.size == 0:
        raise ValueError(
            f"expected a matrix of shape {expected}, init_seeds by order_seeds and not empty, "
            f"found {tuple(matrix.shape)}"
        )
    figure = style.new_figure(max(0.45 * expected[0] + 1.2, 2.9))
    axes = figure.subplots()
    image = style.heat_map(
        axes,
        matrix,
        columns=[str(seed) for seed in order_seeds],
        rows=[str(seed) for seed in init_seeds],
        top=max(float(np.nanmax(matrix, initial=0.0)), 0.01),
        cmap="Oranges",
        texts=np.where(np.isfinite(matrix), style.numbers(matrix), "–"),
    )
    axes.set_title("Final KL of z", fontsize=style.LARGE)
    axes.set_xlabel("seed of the data's order and of all draws", fontsize=style.MEDIUM)
    axes.set_ylabel("seed of the initial weights", fontsize=style.MEDIUM)
    bar = figure.colorbar(image, ax=axes)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.set_label("nats per datum", fontsize=style.MEDIUM)
    return figure
