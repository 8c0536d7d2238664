"""Tables beside the verdicts: other estimates, secondary contrasts, and the cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from experiments.estimates import Mean, is_number
from experiments.infogan_study.rows import replicates, value
from experiments.infogan_study.rules.checks import by_cell, failures
from experiments.infogan_study.rules.properties import (
    CONFIRMATORY,
    CellContrast,
    inside,
    interactions,
    main_effects,
    removals,
)
from experiments.infogan_study.rules.verdict import Result, estimate, results
from experiments.tables import Row, number, span, table

SCORES = {
    "alignment": "A",
    "amount": "M",
    "I_T": "I_T",
    "I_S": "I_S",
    "I_label": "I_label",
    "mi/d/label": "I(d; label)",
    "mig": "MIG",
    "frechet": "Fréchet",
}
"""Columns of a run that are compared, and their names in tables."""


def mean_text(mean: Mean, digits: int = 2) -> str:
    """Writes a mean over seeds with its 95 % interval."""
    if len(mean.values) < 2:
        return number(mean.mean, digits)
    return f"{number(mean.mean, digits)} ({span(mean.interval(), digits)})"


def p_text(p_value: float) -> str:
    """Writes a p-value."""
    return "below 0.0001" if p_value < 1e-4 else f"{p_value:.4f}"


def beside(rows: Sequence[Row], judged: Sequence[Result]) -> list[str]:
    """Tabulates sign flips and the linear model, and all again without the failing runs."""
    body = [
        (
            result.contrast.name,
            mean_text(result.mean, 3),
            p_text(result.mean.p_value),
            p_text(result.flips),
            f"{number(result.model.value, 3)} ({span(result.model.interval())})",
            p_text(result.model.p_value),
        )
        for result in judged
    ]
    head = (
        "property",
        "over seeds (95 %)",
        "Student's p",
        "p, sign flips",
        "linear model, HC3",
        "p",
    )
    tables = [table("Student's test, sign flips within seeds, a linear model", head, body)]
    voids = [f"- {r.contrast.name} is void: {reason}" for r in judged for reason in r.void]
    failing = [row["run"] for row in replicates(rows) if failures(row)]
    again = [
        (r.contrast.name, mean_text(r.mean, 3), p_text(r.adjusted), r.words)
        for r in (results(rows, without_failing=True) if failing else [])
    ]
    title = f"Without the {len(failing)} runs that fail a check"
    columns = ("property", "nats (95 %)", "Holm's p", "outcome")
    return [*tables, "\n".join(voids), table(title, columns, again)]


def secondary(rows: Sequence[Row]) -> list[str]:
    """Tabulates the contrasts inside GANs and VAEs, interactions, and InfoGAN less a property."""
    inner = {training: {c.name: c for c in inside(training)} for training in ("gan", "vae")}
    body = [
        (name, *(_text(rows, inner[training][name]) for training in ("gan", "vae")))
        for name in inner["gan"]
    ]
    parts = [table("Nats inside each training (95 %)", ("property", "GANs", "VAEs"), body)]
    for title, contrasts in (
        ("Two-way interactions (95 %)", interactions()),
        ("InfoGAN's own cell less the same with one property changed (95 %)", removals()),
    ):
        lines = [(contrast.name, _text(rows, contrast)) for contrast in contrasts]
        parts.append(table(title, ("", "nats"), lines))
    return parts if replicates(rows) else []


def _text(rows: Sequence[Row], contrast: CellContrast) -> str:
    return mean_text(estimate(rows, contrast), 3)


def evidence(rows: Sequence[Row]) -> list[str]:
    """Tabulates the effects on other measures, and the means of all cells."""
    chosen = replicates(rows)
    if not chosen:
        return []
    body = []
    for column, name in SCORES.items():
        if column != "mi/d/label":  # which only cells with a category have
            effects = [
                CellContrast(c.name, c.about, c.weights, measure=partial(value, column=column))
                for c in main_effects()
            ]
            body.append((name, *(_text(rows, effect) for effect in effects)))
    head = ("measure", *(contrast.name for contrast in CONFIRMATORY[:-1]))
    parts = [table("Effects on other measures (95 %)", head, body)]
    lines = []
    for cell, own in by_cell(chosen).items():
        means = [_mean(own, column) for column in SCORES]
        lines.append((cell.name, *means, len(own)))
    title = "Cells: means over seeds (95 % of A)"
    return [*parts, table(title, ("cell", *SCORES.values(), "seeds"), lines)]


def _mean(rows: Sequence[Row], column: str) -> str:
    mean = Mean(tuple(v for v in (value(row, column) for row in rows) if is_number(v)))
    return mean_text(mean) if column == "alignment" else number(mean.mean)
