"""The table and the report of `experiments.infogan_seeds`, from the runs' folders alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.generator.config import RESULT
from experiments.generator.measurements import doubt
from experiments.infogan_seeds.trainings import FORMS, Form
from experiments.tables import Row, at, leaving_out, number, read_json, table, write_table
from pyro_mivae import runs
from pyro_mivae.runs.files import write_atomically

TABLE, REPORT = "infogan.csv", "infogan.md"
NUMBERS = (
    *("alignment", "amount", "frechet", "frechet_floor", "rarest", "unmeasured"),
    *("certainty", "reader_accuracy"),
)
"""Single numbers of a measurement that a row has."""
FACTORS = ("thickness", "slant", "width", "label")
CODES = ("c[0]", "c[1]", "d")


def read_rows(folder: Path, seeds: int) -> list[Row]:
    """Reads a row for each measured run and channel; a damaged run is named and left out."""
    rows = []
    for form in FORMS:
        for seed in range(seeds):
            name = form.training(seed).name
            path = folder / f"generator-{name}" / RESULT
            if path.exists():
                with leaving_out(path):
                    rows += _rows(form, seed, folder / name, read_json(path)["channels"])
    return rows


def _rows(form: Form, seed: int, folder: Path, channels: Mapping[str, Any]) -> list[Row]:
    metrics, config = read_json(folder / runs.METRICS), runs.read_config(folder)
    same = {
        "data": config["data"]["name"],
        "steps": config["settings"]["training"]["steps"],
        "training_seconds": round(metrics["seconds"]["training"], 1),
    }
    bounds = {n: _six(metrics["test"][n]) for n in ("mi/c", "mi/d") if n in metrics["test"]}
    return [
        {"form": form.name, "seed": seed, "channel": channel} | same | _numbers(numbers) | bounds
        for channel, numbers in channels.items()
    ]


def _numbers(numbers: Mapping[str, Any]) -> Row:
    row: Row = {}
    if "categories" in numbers:
        row["class_accuracy"] = numbers["categories"]["accuracy"]
    for code, values in numbers["information"].items():
        row |= {f"{code}/{factor}": _six(values[factor]) for factor in FACTORS}
        within = numbers["within"][code]
        row |= {f"{code}/{factor}/within": _six(within[factor]) for factor in FACTORS[:3]}
    return row | {name: _six(numbers["generator"][name]) for name in NUMBERS}


def _six(value: float | None) -> float:
    """A number with six digits; JSON has null for NaN."""
    return math.nan if value is None else float(f"{value:.6g}")


def write_report(folder: Path, seeds: int, docs: Path | None = None) -> list[Row]:
    """Writes the table and the report of what is done so far; returns the rows.

    Args:
        folder: Folder of the runs.
        seeds: Number of seeds.
        docs: Folder of a documentation, whose ``results`` get them, too.
    """
    rows = read_rows(folder, seeds)
    if rows:
        text = "\n\n".join([of_forms(rows), of_seeds(rows)]) + "\n"
        for place in (folder, *([docs / "results"] if docs else [])):
            write_table(rows, place, TABLE)
            write_atomically(place / REPORT, text)
    return rows


def of_forms(rows: Sequence[Row]) -> str:
    """Writes a line for each form: mean over seeds, and range."""
    body = []
    for form in FORMS:
        for channel in ("mean", "sample"):
            chosen = at(rows, form=form.name, channel=channel)
            if chosen:
                words = form.words + (", drawn pixels" if channel == "sample" else "")
                body.append((words, len(chosen), *_cells(chosen)))
    head = [
        *("form", "seeds", "class accuracy, %", "thickness, nats", "slant, nats"),
        *("slant inside a digit, nats", "alignment, nats", "label in d, nats"),
        "Fréchet distance",
    ]
    return table("Each form: mean over seeds (lowest to highest)", head, body)


def _cells(rows: Sequence[Row]) -> list[str]:
    most = {f: [_most(row, f) for row in rows] for f in ("thickness", "slant")}
    return [
        _spread([100 * row["class_accuracy"] for row in rows if "class_accuracy" in row], 0),
        _spread(most["thickness"]),
        _spread(most["slant"]),
        _spread([_most(row, "slant/within") for row in rows]),
        _spread([row["alignment"] for row in rows]),
        _spread([row["d/label"] for row in rows if "d/label" in row]),
        _spread([row["frechet"] for row in rows], 0),
    ]


def _most(row: Row, factor: str) -> float:
    """The largest information of a continuous code about a factor."""
    return max(float(row[f"{code}/{factor}"]) for code in CODES[:2])


def _spread(values: Sequence[float], digits: int = 2) -> str:
    if not values:
        return "-"
    low, high = (number(value, digits) for value in (min(values), max(values)))
    return f"{number(fmean(values), digits)} ({low} to {high})"


def of_seeds(rows: Sequence[Row]) -> str:
    """Writes a line for each run and code: the code's information about each factor."""
    body = []
    for row in rows:
        for code in CODES:
            if f"{code}/thickness" in row:
                values = [number(row[f"{code}/{factor}"]) for factor in FACTORS]
                name = {"mean": "", "sample": " (drawn)"}[row["channel"]]
                body.append((f"{row['form']}{name}", row["seed"], code, *values))
    return table(
        "Each run: information of each code, nats", ("form", "seed", "code", *FACTORS), body
    )


def sentences(rows: Sequence[Row]) -> list[str]:
    """Says what InfoGAN's codes carry beside the VAE's, and which number to trust."""
    lines = []
    for form in FORMS[:2]:
        chosen = at(rows, form=form.name, channel="mean")
        if chosen:
            cells = _cells(chosen)
            accuracy = f"; class accuracy {cells[0]} %" if cells[0] != "-" else ""
            lines.append(
                f"{form.words}: its codes carry at most {cells[1]} nats about thickness and "
                f"{cells[2]} about slant{accuracy}."
            )
    if doubtful := [row for row in rows if doubt(row)]:
        names = ", ".join(sorted({f"{row['form']} seed {row['seed']}" for row in doubtful}))
        lines.append(f"Images that can't stand for digits: {names}. The tables keep them.")
    return [*lines, "Trust means over seeds with their range, not single runs."]
