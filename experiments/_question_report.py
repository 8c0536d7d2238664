"""The report of `experiments.open_question`: table, text and figures, from folders alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments import _question_numbers as numbers
from experiments import _question_tables as tables
from experiments._markdown import at, number, table
from experiments._question_figures import caption, draw
from experiments._question_numbers import PRIMARIES, Row, mean_of
from experiments._question_rules import FAMILIES, H1, checks_of, judge_h1
from experiments._question_runs import MI_WEIGHT, Block
from experiments._question_secondary import SECONDARY
from experiments.sweep import write_table
from pyro_mivae.files import write_atomically
from pyro_mivae.plotting.drawing import save
from pyro_mivae.verdict import FACTOR_KS, MI_BOUND, POSTERIOR_KS, SET_MEASURED

NAME = "open_question"


def write_report(every: Sequence[Block], folder: Path, docs: Path | None = None) -> Path | None:
    """Writes table, report and figures of what is done so far; returns the report's path.

    Args:
        every: All blocks of the study, whichever are run.
        folder: That of the runs.
        docs: A documentation, whose ``results`` and ``figures`` get them, too.
    """
    rows = numbers.read_rows(every, folder)
    if not rows:
        return None
    text = "\n\n".join(part for part in report(every, rows) if part)
    figures = draw(rows, folder)
    _write(rows, folder, f"{text}\n\n{_pictures(figures, 'figures/')}\n")
    save(figures, folder)
    if docs is not None:
        pictures = _pictures(figures, f"../figures/{NAME}_")
        _write(rows, docs / "results", f"{text}\n\n{pictures}\n")
        save({f"{NAME}_{name}": figure for name, figure in figures.items()}, docs)
    return folder / f"{NAME}.md"


def _write(rows: Sequence[Row], folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_table(rows, folder, f"{NAME}.csv")
    write_atomically(folder / f"{NAME}.md", text)


def _pictures(figures: Iterable[str], prefix: str) -> str:
    return "\n\n".join(f"![{caption(name)}]({prefix}{name}.png)" for name in figures)


def report(every: Sequence[Block], rows: Sequence[Row]) -> list[str]:
    """The parts of the text."""
    h1 = judge_h1(every, rows)
    return [
        _verdict(h1),
        _contrasts(rows, h1),
        _decomposed(rows),
        _checks(rows),
        *_secondary(rows),
        "**H5, adversary**: not tested here; it takes adversarial training.",
        tables.seeds_done(every, rows),
        tables.scores(every, rows),
        tables.generator(every, rows),
        tables.weights(rows),
        tables.main_models(rows),
    ]


def _verdict(h1: H1) -> str:
    share = f"The leading code of T follows the uniform factor in {100 * h1.following:.0f} % of "
    share += "the runs on re-inked digits (at least 80 % for *confirmed*)."
    lines = [] if math.isnan(h1.following) else [share]
    if h1.verdict is None:
        lost = [f"{count} runs on {name}" for name, count in h1.missing.items() if count]
        why = f"{', '.join(lost)} are not done" if lost else h1.lost
        return " ".join([f"**H1: not judged yet** ({why}).", *lines])
    word = {"refuted": "refuted (in this model class)"}.get(h1.verdict.outcome, h1.verdict.outcome)
    text = [" ".join([f"**H1: {word}.**", *lines])]
    text += [f"- {reason}" for reason in h1.verdict.reasons]
    if not h1.verdict.reasons:  # which hold them, otherwise
        text += [f"- void: {reason}" for reason in h1.verdict.void]
    if h1.verdict.more_seeds:
        text.append("- seeds are to be added once (`--add-seeds`)")
    return "\n".join([text[0], "", *text[1:]]) if text[1:] else text[0]


def _contrasts(rows: Sequence[Row], h1: H1) -> str:
    body = []
    for weight in (MI_WEIGHT, 0.0):
        for family, data in FAMILIES.items():
            for name, label in PRIMARIES.items():
                found = (
                    h1.contrasts[family, name]
                    if weight == MI_WEIGHT
                    else numbers.contrast(rows, name, arms=("T", "G"), data=data, mi_weight=weight)
                )
                adjusted = h1.adjusted.get(name) if family == "re-inked" and weight else None
                line = tables.contrast_line(found, adjusted)
                if line is not None:
                    body.append((f"{family}, λ {weight:g}", label, *line))
    head = ("data", "of", "mean", "95 %", "90 %", "p, sign flips", "Holm", "p, Welch", "seeds")
    title = "The interaction [y(T, first) − y(T, second)] − [y(G, first) − y(G, second)]"
    return table(title, head, body)


def _decomposed(rows: Sequence[Row]) -> str:
    body = []
    for arms in (("P", "G"), ("T", "P")):
        for weight in (MI_WEIGHT, 0.0):
            for name, label in PRIMARIES.items():
                data = FAMILIES["re-inked"]
                found = numbers.contrast(rows, name, arms=arms, data=data, mi_weight=weight)
                if (line := tables.contrast_line(found, None)) is not None:
                    body.append((f"{arms[0]} against {arms[1]}, λ {weight:g}", label, *line))
    head = ("arms", "of", "mean", "95 %", "90 %", "p, sign flips", "", "p, Welch", "seeds")
    return table("The same with the control P, on re-inked digits", head, body)


def _checks(rows: Sequence[Row]) -> str:
    body = []
    for family, data in FAMILIES.items():
        for arm in ("T", "G", "P"):
            for name in data:
                some = at(rows, arm=arm, data=name, mi_weight=MI_WEIGHT, code_scale=None)
                if some:
                    found = checks_of(some, family)
                    over = sum(row["posterior_ks"] > POSTERIOR_KS for row in some)
                    body.append(
                        (
                            f"{arm} on {name}",
                            number(found.factor_ks, 3),
                            number(found.set_measured, 3),
                            number(mean_of(some, "posterior_ks").mean, 3),
                            number(found.posterior_ks, 3),
                            f"{over} of {len(some)}",
                            number(found.mi_bound),
                            "; ".join(r.partition(": ")[2] for r in found.failures(family)) or "-",
                        )
                    )
    head = (
        "cell, λ 2",
        f"KS of the factor (≤ {FACTOR_KS})",
        f"r set, measured (≥ {SET_MEASURED})",
        "KS of posterior, mean",
        f"worst (≤ {POSTERIOR_KS})",
        "runs above",
        f"least MI bound, nats (≥ {MI_BOUND:g})",
        "void by",
    )
    return table("Manipulation checks, the worst run of each cell", head, body)


def _secondary(rows: Sequence[Row]) -> list[str]:
    parts = []
    for hypothesis in SECONDARY:
        findings = hypothesis.find(rows)
        if not any(finding.mean.values for finding in findings):
            parts.append(f"**{hypothesis.name}: not yet.** {hypothesis.claim}")
            continue
        body = [
            (
                finding.text,
                tables.mean_text(finding.mean, 3),
                *([tables.p_value(finding.p)] if hypothesis.tested else []),
                {None: "-", True: "yes", False: "no"}[finding.holds],
                len(finding.mean.values),
            )
            for finding in findings
        ]
        head = ("", "mean (95 %)", *(["Holm's p"] if hypothesis.tested else []), "holds", "seeds")
        outcome = hypothesis.outcome(findings)
        title = f"{hypothesis.name}, secondary: {outcome}"
        text = f"{hypothesis.claim} Rule: {hypothesis.rule}"
        parts.append(f"{table(title, head, body)}\n\n{text}")
    return parts
