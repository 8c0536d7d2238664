"""The report of `experiments.infogan_study`: text and figures, from the table alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.infogan_study.design.cells import CELLS, SEEDS
from experiments.infogan_study.report.checks import check_tables
from experiments.infogan_study.report.evidence import (
    beside,
    evidence,
    mean_text,
    p_text,
    secondary,
)
from experiments.infogan_study.report.figures import EFFECTS, draw, sheets
from experiments.infogan_study.report.pre_check import pre_check
from experiments.infogan_study.rows import NAME, ROWS, replicates
from experiments.infogan_study.rules.checks import failures
from experiments.infogan_study.rules.properties import CONFIRMATORY, GUESS
from experiments.infogan_study.rules.verdict import Result, judge_guess, results
from experiments.tables import Row, number, span, table
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs.files import write_atomically


def write_report(rows_of: Path, folder: Path, docs: Path | None = None) -> Path | None:
    """Writes the report of what is in the table; returns its path, None without a row.

    Args:
        rows_of: Table of the runs.
        folder: Folder of the study, which gets the report and the figures, with sheets of what
            codes do in the first seed of each cell whose run is there.
        docs: Folder of a documentation, whose ``results`` and ``figures`` get report and effects.
    """
    rows = ROWS.read(rows_of)
    if not rows:
        return None
    judged = results(rows)
    text = "\n\n".join(report(rows, judged))
    figures = draw(rows, judged)
    folder.mkdir(parents=True, exist_ok=True)
    save({**figures, **sheets(folder)}, folder)
    _write(text, folder, f"figures/{EFFECTS}")
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        save({f"{NAME}_{name}": figure for name, figure in figures.items()}, docs)
        _write(text, docs / "results", f"../figures/{NAME}_{EFFECTS}")
    return folder / f"{NAME}.md"


def _write(text: str, folder: Path, picture: str) -> None:
    """Writes the text with the way to the figure of the effects."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = text.replace(f"({EFFECTS}.png)", f"({picture}.png)")
    write_atomically(folder / f"{NAME}.md", f"{shown}\n")


def report(rows: Sequence[Row], judged: Sequence[Result]) -> list[str]:
    """Lists the parts of the text: first one screen with the verdicts."""
    picture = f"![Effects of InfoGAN's properties on the alignment, with intervals]({EFFECTS}.png)"
    sections = {
        "Checks": check_tables(rows),
        "The same contrasts in other ways": beside(rows, judged),
        "Secondary: intervals, no verdict": secondary(rows),
        "Evidence": evidence(rows),
        "Pre-check": pre_check(rows),
    }
    parts = [verdicts(rows, judged), picture if judged else "", " ".join(sentences(rows))]
    for title, body in sections.items():
        if filled := [part for part in body if part]:
            parts += [f"***{title}***", *filled]
    return [part for part in parts if part]


def verdicts(rows: Sequence[Row], judged: Sequence[Result]) -> str:
    """Tabulates the six contrasts with their verdicts."""
    known = {result.contrast.name: result for result in judged}
    body = []
    for place, contrast in enumerate(CONFIRMATORY, start=1):
        result = known.get(contrast.name)
        if result is None:
            cells: tuple[str, ...] = ("-", "-", "-", "not judged yet")
        else:
            words = result.words
            if contrast.name == GUESS:
                words = f"{judge_guess(result, rows)}: {words}"
            interval = span(result.mean.interval(0.90))
            cells = (mean_text(result.mean, 3), interval, p_text(result.adjusted), words)
        line = (place, contrast.name, contrast.about, f"{contrast.margin:.2f}", *cells)
        body.append(line)
    head = ("", "property", "contrast", "margin", "nats (95 %)", "90 %", "Holm's p", "verdict")
    return table("Which properties of InfoGAN lead to alignment?", head, body)


def sentences(rows: Sequence[Row]) -> list[str]:
    """Writes three sentences: what came out, and which numbers to trust."""
    chosen = replicates(rows)
    seeds = len({row["seed"] for row in chosen})
    judged = results(rows)
    if not judged:
        return [
            f"Nothing is judged yet: the table has {len(rows)} runs and {seeds} whole replicates "
            f"of {len(CELLS)} cells, of the {SEEDS} that are planned."
        ]
    groups: dict[str, list[str]] = {}
    for result in judged:
        if result.contrast.name != GUESS:
            groups.setdefault(result.words, []).append(result.contrast.name)
    verdict_words = "; ".join(f"{' and '.join(names)}: {words}" for words, names in groups.items())
    lines = [f"Verdicts on the properties: {verdict_words}."]
    for result in judged:
        if result.contrast.name == GUESS:
            lines.append(
                f"The poster's guess, that codes align with the factor whose law they have, is "
                f"{judge_guess(result, rows)}: the interaction is {number(result.mean.mean, 3)} "
                f"nats (95 %: {span(result.mean.interval())})."
            )
    failing = sum(map(bool, map(failures, chosen)))
    lines.append(
        f"Trust the intervals over {seeds} seeds, not single runs; {failing} of {len(chosen)} runs "
        "fail a check."
    )
    return lines
