"""The report of `experiments.infogan_study`: text and figures, from the table alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.infogan_study.design.cells import CELLS, SEEDS
from experiments.infogan_study.report.checks import check_tables
from experiments.infogan_study.report.evidence import beside, evidence, mean_text, secondary
from experiments.infogan_study.report.figures import EFFECTS, draw, sheets
from experiments.infogan_study.report.pre_check import pre_check
from experiments.infogan_study.rows import NAME, read_table, replicates
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
        folder: Folder of the study, which gets the report and the figures.
        docs: Folder of a documentation, whose ``results`` and ``figures`` get them, too.
    """
    rows = read_table(rows_of)
    if not rows:
        return None
    judged = results(rows)
    text = "\n\n".join(part for part in report(rows, judged) if part)
    figures = draw(rows, judged)
    pictures = {**figures, **sheets(folder)}
    places = [(folder, folder, "")]
    if docs is not None:
        places.append((docs, docs / "results", f"{NAME}_"))
    for place, results_folder, prefix in places:
        results_folder.mkdir(parents=True, exist_ok=True)
        save({f"{prefix}{name}": figure for name, figure in pictures.items()}, place)
        way = "" if place == results_folder else "../"
        shown = text.replace(f"({EFFECTS}.png)", f"({way}figures/{prefix}{EFFECTS}.png)")
        write_atomically(results_folder / f"{NAME}.md", f"{shown}\n")
    return folder / f"{NAME}.md"


def report(rows: Sequence[Row], judged: Sequence[Result]) -> list[str]:
    """Lists the parts of the text: one screen with the verdicts first."""
    picture = f"![Effects of InfoGAN's properties on the alignment, with intervals]({EFFECTS}.png)"
    return [
        verdicts(rows, judged),
        picture if judged else "",
        " ".join(sentences(rows)),
        "***Checks***",
        *check_tables(rows),
        "***The same contrasts in other ways***",
        *beside(rows, judged),
        "***Secondary: intervals, no verdict***",
        *secondary(rows),
        "***Evidence***",
        *evidence(rows),
        *pre_check(rows),
    ]


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
            cells = (mean_text(result.mean, 3), interval, f"{result.adjusted:.4f}", words)
        line = (place, contrast.name, contrast.about, f"{contrast.margin:.2f}", *cells)
        body.append(line)
    head = ("", "property", "contrast", "margin", "nats (95 %)", "90 %", "Holm's p", "verdict")
    return table("Which properties of InfoGAN lead to alignment?", head, body)


def sentences(rows: Sequence[Row]) -> list[str]:
    """Tells in three sentences what came out, and which numbers to trust."""
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
    told = "; ".join(f"{words}: {', '.join(names)}" for words, names in groups.items())
    lines = [f"Of InfoGAN's properties, {told}."]
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
