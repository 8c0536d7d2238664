"""The figures of `experiments.open_question`, from the runs' folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.estimates import is_number
from experiments.open_question.design.cells import MI_WEIGHT
from experiments.open_question.jobs.measure_codes import ARRAYS
from experiments.open_question.report.plots import interaction_plot, top_factors
from experiments.open_question.rows import PRIMARIES
from experiments.open_question.rules.h1 import FAMILIES
from experiments.plots.forest import forest_plot
from experiments.tables import Row, at, leaving_out
from pyro_mivae import plotting
from pyro_mivae.runs import METRICS

SEED = 0
"""Seed of the models that are shown: the first, whatever came out."""
SHOWN = 0
"""Index of the traversal that is shown, of a code's first three."""
LAWS = {
    "D3": "D3: thickness\nuniform",
    "D4": "D4: slant\nuniform",
    "D1": "D1: thickness\nuniform",
    "D2": "D2: thickness\nnormal",
    "D6a": "D6a: scale\nuniform",
    "D6b": "D6b: x\nuniform",
}
UNITS = {"thickness": "px", "slant": "rad", "width": "px", "scale": "px", "x": "px", "y": "px"}


def caption(name: str) -> str:
    """Says what a figure shows."""
    first = f"the first seed of each, λ {MI_WEIGHT:g}"
    fixed = {
        "interaction_I_T": "I_T by arm and law: an interaction is lines that are not parallel",
        "interaction_share_T": "share_T by arm and law",
        "interaction_again": "The interactions in the planned seeds and in those that were added, "
        "with 95 % intervals",
        "top_factors": f"The factor that the leading code carries most about, λ {MI_WEIGHT:g}",
        "mi_arms": f"I(code; factor) on re-inked digits, {first}",
        "mi_main": "I(dimension; factor) on MNIST, the first seed of each main model",
    }
    if name in fixed:
        return fixed[name]
    model = name.removeprefix("traversals_").removeprefix("main_").replace("_", " ")
    return f"Traversals of the code, with what was measured under each image: {model}"


def draw(rows: Sequence[Row], folder: Path, again: Sequence[Row] = ()) -> dict[str, Figure | None]:
    """Draws the figures of what is done, by name; None of images that the folder has not.

    Args:
        rows: Rows of the runs.
        folder: Folder of the study.
        again: Interactions that were looked at again, as a forest plot takes them.
    """
    figures: dict[str, Figure | None] = {}
    for name, label in PRIMARIES.items():
        if plotted := _panels(rows, name):
            figures[f"interaction_{name}"] = interaction_plot(plotted, label=label)
    if again:
        label = "interaction of prior and law, mean over seeds and 95 % interval"
        figures["interaction_again"] = forest_plot(again, label=label)
    if plotted := _tops(rows):
        figures["top_factors"] = top_factors(plotted)
    figures |= _matrices(rows)
    figures |= _traversals(rows, folder)
    return figures


def _panels(rows: Sequence[Row], value: str) -> list[Row]:
    panels = []
    for family, data in FAMILIES.items():
        for weight in (0.0, MI_WEIGHT):
            for row in at(rows, mi_weight=weight, code_scale=None):
                wanted = row["data"] in data and row["arm"] in ("G", "P", "T")
                if wanted and is_number(row[value]):
                    panel = {"panel": f"{family}, λ {weight:g}", "data": LAWS[row["data"]]}
                    panels.append({**row, **panel, "value": row[value]})
    return panels


def _tops(rows: Sequence[Row]) -> list[Row]:
    """Lists the top factors of every cell at the hypotheses' weight, with its arm and data."""
    chosen = [
        {"group": f"{row['arm']} on {row['data']}", "top": row["leading_top"] or "none"}
        for row in at(rows, mi_weight=MI_WEIGHT, code_scale=None)
    ]
    return sorted(chosen, key=lambda row: row["group"].split(" on ")[::-1])


def _matrix(row: Row, codes: Sequence[str], factors: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row[f"mi/{code}/{factor}"] for factor in factors] for code in codes])


def _matrices(rows: Sequence[Row]) -> dict[str, Figure]:
    """Draws the matrices of the first seed of the main models and of the arms on D3 and D4."""
    figures = {}
    models = at(rows, data="mnist", seed=SEED)
    if models:
        first = models[0]
        codes = [n[3:-10] for n in first if n.startswith("mi/") and n.endswith("/thickness")]
        codes.sort(key=_place)
        factors = ["thickness", "slant", "width", "label"]
        matrices = {_title(row): _matrix(row, codes, factors) for row in models}
        figures["mi_main"] = plotting.mi_matrices(matrices, codes=codes, factors=factors)
    arms = [
        row
        for row in at(rows, mi_weight=MI_WEIGHT, code_scale=None, seed=SEED)
        if row["data"] in FAMILIES["re-inked"]
    ]
    if arms:
        codes, factors = ["c[0]", "c[1]"], ["thickness", "slant", "label"]
        matrices = {f"{row['arm']} on {row['data']}": _matrix(row, codes, factors) for row in arms}
        figures["mi_arms"] = plotting.mi_matrices(matrices, codes=codes, factors=factors, columns=4)
    return figures


def _place(code: str) -> tuple[str, int]:
    """Splits ``c[10]`` into its site and its number."""
    site, _, index = code.rstrip("]").partition("[")
    return site, int(index)


def _title(row: Row) -> str:
    without = "no term" if row["mi_weight"] == 0 else f"λ {row['mi_weight']:g}, {row['channel']}"
    return f"{row['arm'].removeprefix('main-')}, {without}"


def pictured(rows: Sequence[Row]) -> dict[str, Row]:
    """Selects the runs of whose images there is a figure, by its name.

    The first seed of each main model, and of the arms on D3 at the hypotheses' weight.
    """
    shown: dict[str, Row] = {}
    for row in at(rows, data="mnist", seed=SEED):
        name = row["run"].removesuffix(f"-seed{SEED}").replace("-", "_").replace(".", "_")
        shown[f"traversals_{name}"] = row
    for row in at(rows, data="D3", mi_weight=MI_WEIGHT, code_scale=None, seed=SEED):
        if row["arm"] in ("G", "P", "T"):
            shown[f"traversals_{row['arm']}_D3"] = row
    return shown


def _traversals(rows: Sequence[Row], folder: Path) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for name, row in pictured(rows).items():
        if row["data"] == "mnist":
            own = folder / f"codes-{row['run']}"
            path, done = own / ARRAYS, own / METRICS
        else:
            path = folder / row["run"] / f"seed{SEED}.npz"
            done = path.with_suffix(".json")
        # Without the second one the row may be of a table.
        arrays = _arrays(path) if path.exists() and done.exists() else None
        if arrays is None:
            figures[name] = None
            continue
        images, measured = arrays
        figures[name] = plotting.measured_traversals(
            images,
            measured,
            names=[f"{n} ({UNITS[n]})" for n in _moved(row)],
            labels=[f"c[{d}]" for d in range(len(images))],
        )
    return figures


def _arrays(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The images and what was measured of them; None of a damaged file, which is named."""
    with leaving_out(path), np.load(path) as arrays:
        return arrays["images"][:, SHOWN] / 255, arrays["measured"][:, SHOWN]
    return None


def _moved(row: Row) -> list[str]:
    """Lists what was measured of a model's images, in order."""
    return [name.rpartition("/")[2] for name in row if name.startswith("slope/c[0]/")]
