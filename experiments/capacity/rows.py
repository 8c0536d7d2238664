"""The table of `experiments.capacity`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from experiments.capacity.trainings import Model, training_of
from experiments.row_table import RowTable
from experiments.tables import Row

NAME = "capacity"
TABLE = f"{NAME}.csv"
USED = 0.1
"""Nats of KL above which a dimension is said to be used."""
WHOLE = ("code_dim", "noise_dim", "hidden_units", "hidden_layers", "seed", "steps")
ALWAYS = ("run", *WHOLE, "mi_weight", "kl/c", "kl/z", "mi/c/mean", "mi/z/mean", "used/z", "elbo")
_FOLDER = re.compile(r"(\d+)\+(\d+)-(\d+)x(\d+)-lambda([\d.]+)-seed(\d+)-steps(\d+)")


def _row_of(metrics: dict[str, Any], name: str) -> Row:
    """Makes a row of a run of experiments.mnist; its settings are in the folder's name."""
    match = _FOLDER.fullmatch(name)
    if match is None:
        raise ValueError(f"expected the folder of a run of experiments.{NAME}, found {name}")
    code, noise, layers, units, weight, seed, steps = match.groups()
    model = Model(int(code), int(noise), int(units), int(layers), float(weight))
    row = {
        "run": name,
        **dataclasses.asdict(model),
        "seed": int(seed),
        "steps": int(steps),
        **metrics["test"],
    }
    for site in ("c", "z"):
        row[f"used/{site}"] = sum(kl > USED for kl in metrics["per_dimension"][site]["kl"])
    row["training_seconds"] = metrics["seconds"]["training"]
    return row


ROWS = RowTable(
    f"experiments.{NAME}",
    ("run",),
    WHOLE,
    ALWAYS,
    lambda row: training_of(row).name,
    _row_of,
    tuple(name for name in ALWAYS if name not in ("run", *WHOLE)),
)
"""The study's table."""
