"""Parts of the figures: colours, axes, mosaics, what is looked up in groups and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_mivae.files import atomic_path
from pyro_mivae.history import History

# Okabe and Ito's colours, and Tol's "muted": both are told apart by the colour-blind.
PAIR = ["#0072B2", "#D55E00"]
SITES = {"c": ("code c", PAIR[0]), "z": ("noise z", PAIR[1]), "d": ("category d", "#CC79A7")}
OTHERS = ["#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
CLASSES = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77"]
CLASSES += ["#CC6677", "#882255", "#AA4499", "#888888"]
INK, GREY, PALE = "#222222", "#999999", "#DDDDDD"
DASHES: dict[str, Any] = {
    "mean": "--",
    "sample": ":",
    "straight-through": "-.",
    "sleep": (0, (5, 1, 1, 1, 1, 1)),
}
# A channel's own colour and marker, where no site has one.
CHANNELS = {
    "mean": (OTHERS[0], "o"),
    "sample": (OTHERS[1], "s"),
    "straight-through": (OTHERS[2], "D"),
    "sleep": (OTHERS[3], "^"),
    "none": (INK, "v"),
}
SHADES = {"mean": 0.4, "sample": 1.0, "straight-through": 0.8, "sleep": 0.6}
MARKERS = "osD^vPX*"
LARGE, MEDIUM, SMALL = 16, 14, 12
# Of a figure's legend: below all axes, where it hides nothing.
OUTSIDE: dict[str, Any] = {"loc": "outside lower center", "fontsize": MEDIUM}
OUTSIDE |= {"frameon": False, "title_fontsize": SMALL}


def shade(colour: str, channel: str) -> tuple[float, float, float]:
    """A colour mixed with white, by channel: opaque, so that no grid shines through."""
    red, green, blue = (1 - SHADES[channel] * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def darker(colour: str) -> tuple[float, float, float]:
    """A colour mixed with black, for text."""
    red, green, blue = (0.6 * part for part in to_rgb(colour))
    return red, green, blue


def number(value: float, digits: int = 2) -> str:
    """A number with a minus that is no hyphen, and with none before 0.00."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def tex(name: str) -> str:
    """A dimension's name as it is written: ``c[3]`` with the 3 below."""
    site, _, index = name.partition("[")
    return f"${site}_{{{index.removesuffix(']')}}}$" if index else f"${site}$"


def curve(
    axes: Axes,
    history: History,
    split: str,
    columns: Sequence[str],
    label: str,
    colour: str,
    dash: Any,
    signs: Sequence[int] = (1,),
) -> None:
    """Draws a signed sum of columns, if rows of the split have them all."""
    rows = [r for r in history.rows if r["split"] == split and all(c in r for c in columns)]
    if rows:
        steps = [int(r["step"]) for r in rows]
        terms = list(zip(signs, columns, strict=True))
        sums = [sum(sign * float(r[c]) for sign, c in terms) for r in rows]
        marker = "o" if len(rows) <= 20 else None
        axes.plot(steps, sums, ls=dash, color=colour, label=label, lw=2, marker=marker, ms=4)


def finish(axes: Axes, title: str, xlabel: str = "", ylabel: str = "") -> None:
    """Title, labels, a pale grid, no box."""
    axes.set_title(title, fontsize=LARGE)
    axes.set_xlabel(xlabel, fontsize=MEDIUM)
    axes.set_ylabel(ylabel, fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(axes: Axes, height: float = -0.16) -> None:
    """A legend under the axes, where it hides nothing, from `height` axes down."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, height), fontsize=SMALL, frameon=False)


def mosaic(images: NDArray[Any], title: str) -> tuple[Figure, Axes]:
    """Tiles images (rows, columns, height, width) in [0, 1]; ticks are at the tiles' centres.

    0 is white, 1 black; tiles of NaN, and the gaps, are pale.
    """
    rows, columns, height, width = images.shape
    tiles = np.pad(images, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=np.nan)
    canvas = tiles.transpose(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    canvas = np.pad(canvas, ((0, 1), (0, 1)), constant_values=np.nan)
    size = (0.85 * columns + 2, 0.85 * rows * height / width + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(PALE)
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks((np.arange(columns) + 0.5) * (width + 1))
    axes.set_yticks((np.arange(rows) + 0.5) * (height + 1))
    axes.tick_params(length=0, labelsize=MEDIUM)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=LARGE)
    return figure, axes


def get_group(tree: xr.DataTree, group: str) -> xr.Dataset:
    """A group, empty if it is not there."""
    return tree[group].to_dataset() if group in tree.children else xr.Dataset()


def get_values(tree: xr.DataTree, group: str, name: str) -> NDArray[Any]:
    """The values of a variable or coordinate.

    Raises:
        ValueError: If it is not there.
    """
    data = get_group(tree, group)
    if name not in data.variables:
        raise ValueError(
            f"the tree has no '{name}' in its group '{group}': expected what inference_data() "
            f"makes, found {list(data.data_vars)}. Give inference_data() the labels, images or "
            "information that are missing"
        )
    values: NDArray[Any] = data[name].values
    return values


def mi_by_channel(tree: xr.DataTree, site: str) -> dict[str, NDArray[Any]]:
    """MI of each dimension of a site under each channel where it was measured."""
    data = get_group(tree, "information")
    if f"mi_{site}" not in data:
        return {}
    rows = data[f"mi_{site}"].transpose("channel", ...).values
    rows = rows.reshape(len(rows), -1)
    named = zip(data["channel"].values, rows, strict=True)
    return {str(channel): row for channel, row in named if not np.isnan(row).all()}


def sites_of(data: xr.Dataset) -> list[str]:
    """The sites whose dimensions were measured, in the order of :data:`SITES`.

    Raises:
        ValueError: If there is none.
    """
    # A category is one dimension without a coordinate.
    sites = [site for site in SITES if f"{site}_dim" in data.sizes or f"activity_{site}" in data]
    if not sites:
        raise ValueError(
            "the tree has no group 'information': pass information to inference_data()"
        )
    return sites


def mi_name(channel: str) -> str:
    """What MI under a channel is; under ``"mean"`` no bound."""
    return f"MI {'score' if channel == 'mean' else 'bound'}, channel {channel}"


def training(channel: str) -> str:
    """What a run was trained with; ``"none"`` is without the information term."""
    return "without the term (λ = 0)" if channel == "none" else f"training channel {channel}"


def tick(site: str, dimension: int) -> str:
    """The name of a dimension of a site; a category has one only."""
    return f"${site}$" if site == "d" else f"${site}_{{{dimension}}}$"


def by_information(
    tree: xr.DataTree, site: str, size: int, channel: str | None = None
) -> tuple[NDArray[Any], list[str], str]:
    """Dimensions by descending MI, their labels in this order, and which MI it is ("" for none).

    Raises:
        ValueError: If MI was not measured under the channel.
    """
    measured = mi_by_channel(tree, site)
    if channel is not None and channel not in measured:
        raise ValueError(
            f"no MI of '{site}' under channel {channel!r}: expected one of {list(measured)}"
        )
    if not measured:
        return np.arange(size), [tick(site, d) for d in range(size)], ""
    channel = channel or ("sample" if "sample" in measured else next(iter(measured)))
    mi = measured[channel]
    order = np.argsort(-mi, kind="stable")
    labels = [f"{tick(site, d)}:  {number(mi[d])} nats" for d in order]
    return order, labels, mi_name(channel)


def save(
    figures: Mapping[str, Figure], folder: Path, *, settings_of: Path | None = None
) -> dict[str, Path]:
    """Writes figures as PNG files into ``figures`` of a folder, headed by a run's settings.

    Args:
        figures: Figures by the names of their files.
        folder: The folder; it must exist.
        settings_of: The run's folder, by default the same.
    """
    above = heading((settings_of or folder) / "config.json")
    (folder / "figures").mkdir(exist_ok=True)
    paths = {name: folder / "figures" / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        if above:
            figure.suptitle(above, x=0.01, ha="left", fontsize=SMALL, color="#666666")
        with atomic_path(paths[name]) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    return paths


def heading(path: Path) -> str:
    """The settings that decide what was learnt, wherever in the configuration they are."""
    if not path.is_file():
        return ""
    names = {"prior": "prior", "channel": "training channel", "mi_weight": "λ =", "data": "data"}
    config = json.loads(path.read_text(encoding="utf-8"))
    found = {name: _find(config, key) for key, name in names.items()}
    return "  ·  ".join(f"{name} {value}" for name, value in found.items() if value is not None)


def _find(config: Any, key: str) -> Any:
    if not isinstance(config, Mapping):
        return None
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    if value is not None:
        return value
    return next((v for v in (_find(c, key) for c in config.values()) if v is not None), None)
