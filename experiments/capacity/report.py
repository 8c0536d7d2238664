"""The report of `experiments.capacity`: tables, sentences and a figure, from the table alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.capacity.figures import noise_map
from experiments.capacity.rows import NAME, ROWS
from experiments.capacity.trainings import PARTS, WITHOUT, Model, training_of
from experiments.poster.rows import IGNORED
from experiments.poster.trainings import EPOCHS_5
from experiments.tables import Row, number, span, table
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs.files import write_atomically

TITLES = {
    "sizes": "Sizes: KL of the noise, nats; networks of 2 layers of 500 units",
    "networks": "Networks: KL of the noise, nats; 10 + 10 dimensions",
}
TITLES[WITHOUT] = TITLES["sizes"]
NAMES = {
    "sizes": "With the sizes varied",
    "networks": "With the networks varied",
    WITHOUT: "Without the term, with the sizes varied",
}


def write_report(rows_of: Path, folder: Path, docs: Path | None = None) -> Path | None:
    """Writes the report of what is in the table; returns its path, None without a row.

    Args:
        rows_of: Table of the runs.
        folder: Folder of the study, which gets the report and the figure.
        docs: Folder of a documentation, whose ``results`` and ``figures`` get them, too.
    """
    rows = ROWS.read(rows_of)
    if not rows:
        return None
    figure = noise_map(rows)
    text = "\n\n".join(part for part in (" ".join(sentences(rows)), *tables(rows)) if part)
    folder.mkdir(parents=True, exist_ok=True)
    save({"noise_map": figure}, folder)
    write_atomically(folder / f"{NAME}.md", f"{text}\n")
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        save({f"{NAME}_noise_map": figure}, docs)
        (docs / "results").mkdir(exist_ok=True)
        write_atomically(docs / "results" / f"{NAME}.md", f"{text}\n")
    return folder / f"{NAME}.md"


def tables(rows: Sequence[Row]) -> list[str]:
    """Tabulates the parts, and the longer trainings."""
    parts = []
    for part, models in PARTS.items():
        for weight in dict.fromkeys(model.mi_weight for model in models):
            title = f"{TITLES[part]}; lambda {weight:g}"
            parts.append(_grid(rows, part, weight, title))
    return [*parts, _long(rows)]


def _grid(rows: Sequence[Row], part: str, weight: float, title: str) -> str:
    """A table with a line for each code or depth, and a column for each noise or width."""
    models = [model for model in PARTS[part] if model.mi_weight == weight]
    down, across = (
        ("hidden_layers", "hidden_units") if part == "networks" else ("code_dim", "noise_dim")
    )
    columns = sorted({getattr(model, across) for model in models})
    body = []
    for value in sorted({getattr(model, down) for model in models}):
        line = [m for m in models if getattr(m, down) == value]
        cells = {getattr(m, across): _values(rows, m, EPOCHS_5) for m in line}
        body.append((value, *(cells[column] for column in columns)))
    if all(cell == "-" for line in body for cell in line[1:]):
        return ""
    words = {"code_dim": "code", "noise_dim": "noise"}
    words |= {"hidden_layers": "layers", "hidden_units": "units"}
    return table(title, (words[down], *(f"{words[across]} {c}" for c in columns)), body)


def _values(rows: Iterable[Row], model: Model, steps: int) -> str:
    """The KL of the noise of each seed."""
    chosen = _runs(rows, model, steps)
    return ", ".join(number(row["kl/z"], 1) for row in chosen) or "-"


def _runs(rows: Iterable[Row], model: Model, steps: int) -> list[Row]:
    chosen = [r for r in rows if training_of(r).model == model and r["steps"] == steps]
    return sorted(chosen, key=lambda row: int(row["seed"]))


def _long(rows: Sequence[Row]) -> str:
    """The longer trainings, a line each."""
    chosen = [row for row in rows if row["steps"] > EPOCHS_5]
    models = dict.fromkeys(training_of(row).model for row in chosen)
    body = []
    for model in models:
        for row in _runs(chosen, model, chosen[0]["steps"]):
            body.append(
                (
                    f"{model.code_dim} + {model.noise_dim}",
                    f"{model.hidden_layers} of {model.hidden_units}",
                    f"{model.mi_weight:g}",
                    row["seed"],
                    *(number(row[c], 1) for c in ("kl/c", "kl/z", "mi/c/mean", "mi/z/mean")),
                    int(row["used/z"]),
                    "yes" if row["kl/z"] < IGNORED else "no",
                )
            )
    scores = ("KL of c", "KL of z", "score of c", "score of z")
    head = ("code + noise", "layers", "lambda", "seed", *scores, "dimensions of z used", "ignored")
    return table("25 epochs: the models whose noise had the least KL", head, body)


def sentences(rows: Sequence[Row]) -> list[str]:
    """Tells where the noise is ignored, in the map and after 25 epochs."""
    lines = []
    for part, models in PARTS.items():
        chosen = [row for m in models for row in _runs(rows, m, EPOCHS_5)]
        if chosen:
            lines.append(_sentence(f"{NAMES[part]}, 5 epochs", chosen))
    if long := [row for row in rows if row["steps"] > EPOCHS_5]:
        lines.append(_sentence("After 25 epochs", long))
    return lines


def _sentence(where: str, rows: Sequence[Row]) -> str:
    ignored = [row for row in rows if row["kl/z"] < IGNORED]
    ends = span((min(r["kl/z"] for r in rows), max(r["kl/z"] for r in rows)), 1)
    return (
        f"{where}, {len(ignored)} of {len(rows)} trainings ignore the noise (a KL below "
        f"{IGNORED:g} nats); its KL is {ends} nats."
    )
