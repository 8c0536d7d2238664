"""Draws the figures of the documentation that need no run, only the published tables.

    python docs/_ext/redraw.py [NAME ...]

All of them, or those that are named. Pictures of images need the runs' folders, and are written by
the programs that train: `experiments.mnist`, `.infogan`, `.factors`, `.poster`, `.open_question`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import answers  # noqa: E402

from benchmarks import peers_report, scaling_report  # noqa: E402
from experiments.infogan_seeds.figures import numbers  # noqa: E402
from experiments.open_question.design.cells import blocks as question  # noqa: E402
from experiments.open_question.earlier import read_table  # noqa: E402
from experiments.open_question.report import figures as question_figures  # noqa: E402
from experiments.open_question.report.added_seeds import drawn  # noqa: E402
from experiments.open_question.rows import without_fresh  # noqa: E402
from experiments.poster.figures import of_rows  # noqa: E402
from experiments.poster.trainings import blocks  # noqa: E402
from pyro_mivae.plotting import information_curves, style  # noqa: E402
from pyro_mivae.runs.groups import make_group  # noqa: E402

Row = dict[str, Any]
TABLES, FIGURES = DOCS / "results", DOCS / "figures"


def read(name: str) -> list[Row]:
    """Reads a published table: numbers as numbers, and without the cells that are empty."""
    with (TABLES / name).open(encoding="utf-8", newline="") as file:
        return [{n: _value(v) for n, v in row.items() if v} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text else number


def poster() -> dict[str, Figure]:
    """Draws what `poster.csv` has, by the blocks of the study."""
    rows = {row["run"]: {"init_seed": None, **row} for row in read("poster.csv")}
    by_block = {
        block.name: [rows[t.name] for t in block.trainings if t.name in rows]
        for block in blocks(seeds=3, figure_4_seeds=8)
    }
    figures = of_rows(by_block) | {"answer": answers.poster()}
    return {f"poster_{name}": figure for name, figure in figures.items()}


def open_question() -> dict[str, Figure]:
    """Draws what `open_question.csv` has."""
    every, rows = question(add_seeds=True), read_table(TABLES / "open_question.csv")
    nowhere = TABLES / "no runs"
    figures = question_figures.draw(without_fresh(every, rows), nowhere, drawn(every, rows))
    figures["answer"] = answers.open_question()
    return {f"open_question_{name}": figure for name, figure in figures.items() if figure}


def information() -> dict[str, Figure]:
    """Draws how the bounds of the first seed close, without and with the term."""
    figures = {}
    for weight in (0, 1):
        rows = [
            row
            for row in read("information.csv")
            if (row["channel"], row["mi_weight"], row["kl_weight"], row["seed"])
            == ("straight-through", weight, 1, 0)
        ]
        figure = information_curves(_curves(rows))
        heading = f"prior uniform  ·  training channel straight-through  ·  λ = {weight}  ·  "
        heading += "data mnist  ·  seed 0  ·  5000 steps"
        figure.suptitle(heading, x=0.01, ha="left", fontsize=style.TINY, color="#666666")
        figures[f"information_lambda{weight}"] = figure
    return figures


def _curves(rows: list[Row]) -> xr.Dataset:
    """The rows as :func:`information_curves` takes them."""
    coords = {"guide": ["own", "refitted"], "codes": ["c", "z", "c, z"]}
    coords["num_samples"] = sorted({r["num_samples"] for r in rows if "num_samples" in r})
    sizes = [r["num_data"] for r in rows if r["quantity"] == "aggregate_information"]
    coords["num_data"] = sorted(set(sizes))
    lead = {"lower": ("guide", "codes", "num_samples"), "upper": ("guide", "codes", "num_samples")}
    lead |= {"aggregate_information": ("codes", "num_data"), "kl": ("codes",)}
    variables = {}
    for quantity, dims in lead.items():
        shape = [len(coords[dim]) for dim in dims]
        values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
        for row in rows:
            row = {"codes": row["code"], **row}
            if row["quantity"] == quantity and all(dim in row for dim in dims):
                place = tuple(coords[dim].index(row[dim]) for dim in dims)
                values[place], errors[place] = row["nats"], row.get("standard_error", np.nan)
        variables[quantity], variables[f"{quantity}_se"] = (dims, values), (dims, errors)
    return make_group(variables, coords)


def infogan() -> dict[str, Figure]:
    """Draws the numbers of each form of InfoGAN."""
    return {"infogan_numbers": numbers(read("infogan.csv"))}


def costs() -> dict[str, Figure]:
    """Draws the times beside other libraries, and over sizes; the reports write them themselves."""
    rows = read("peers.csv")
    names = peers_report.Row.__dataclass_fields__
    peers = [peers_report.Row(**{n: v for n, v in r.items() if n in names}) for r in rows]
    where = "\n".join(rows[0][name] for name in ("machine", "versions"))
    figures = {"peers": peers_report.draw(peers, where)}
    curves = []
    rows = read("scaling.csv")
    for name in dict.fromkeys(row["curve"] for row in rows):
        own = [row for row in rows if row["curve"] == name]
        fields = scaling_report.Point.__dataclass_fields__
        points = [scaling_report.Point(**{n: row[n] for n in fields}) for row in own]
        curves.append(scaling_report.Curve(name, own[0]["limit"], points))
    return figures | {"scaling": scaling_report.draw(curves, rows[0]["machine"])}


GROUPS: tuple[Callable[[], dict[str, Figure]], ...]
GROUPS = (poster, open_question, information, infogan, costs)

if __name__ == "__main__":
    wanted = set(sys.argv[1:])
    for group in GROUPS:
        for name, figure in group().items():
            if not wanted or name in wanted:
                figure.savefig(FIGURES / f"{name}.png", dpi=style.DPI)
                print(name)
