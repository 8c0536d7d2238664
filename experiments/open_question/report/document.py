"""The report of `experiments.open_question`: table, text and figures, from rows and folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.open_question.design.cells import (
    EXPLORATORY,
    MI_WEIGHT,
    MOST_SEEDS,
    Block,
    Cell,
)
from experiments.open_question.earlier import TABLE, key_of, read_table
from experiments.open_question.report.added_seeds import drawn, fresh_seeds
from experiments.open_question.report.cell_tables import (
    categories,
    contrast_line,
    generator,
    mean_text,
    p_value,
    scores,
    seeds_done,
    weights,
)
from experiments.open_question.report.checks import checks_table
from experiments.open_question.report.figures import caption, draw, pictured
from experiments.open_question.report.main_models import main_model_tables
from experiments.open_question.rows import PRIMARIES, contrast, read_rows, without_fresh
from experiments.open_question.rules.h1 import (
    FAMILIES,
    H1,
    judge_h1,
)
from experiments.open_question.rules.secondary import (
    SECONDARY,
    WEAK,
    Finding,
    Hypothesis,
    weak,
)
from experiments.open_question.rules.verdict import Family
from experiments.tables import Row, number, span, table, write_table
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs.files import write_atomically

NAME = "open_question"
Secondary = Mapping[Hypothesis, Sequence[Finding]]


def write_report(
    every: Sequence[Block],
    folder: Path,
    docs: Path | None = None,
    earlier: Sequence[Row] = (),
) -> Path | None:
    """Writes table, report and figures of what is done so far; returns the report's path.

    Args:
        every: Blocks of the study, whichever are run.
        folder: Folder of the runs.
        docs: Folder of a documentation, whose ``results`` and ``figures`` get them, too.
        earlier: Rows of other folders, which fill in what this one has not. What a model has made
            is not in them: a picture of it is linked where it was drawn before, of the same run.
    """
    rows = read_rows(every, folder, earlier)
    if not rows:
        return None
    text = "\n\n".join(part for part in report(every, rows) if part)
    shown = without_fresh(every, rows)
    figures = draw(shown, folder, drawn(every, rows))
    places = [(folder, folder, "", "")]  # of figures, of tables; a name's start; the way there
    if docs is not None:
        places.append((docs, docs / "results", f"{NAME}_", "../"))
    for place, results, prefix, way in places:
        old = _unchanged(shown, results)
        place.mkdir(parents=True, exist_ok=True)
        save({f"{prefix}{name}": figure for name, figure in figures.items() if figure}, place)
        existing = [n for n in figures if (place / "figures" / f"{prefix}{n}.png").exists()]
        pictures = [name for name in existing if figures[name] or name in old]
        _write(rows, results, text, pictures, f"{way}figures/{prefix}")
    return folder / f"{NAME}.md"


def _unchanged(rows: Sequence[Row], results: Path) -> set[str]:
    """The pictures whose runs are those of the table that is there."""
    path = results / TABLE
    before = {key_of(row): row for row in read_table(path)} if path.exists() else {}

    def same(row: Row) -> bool:
        old = before.get(key_of(row), {})
        return all(row[name] == old.get(name) for name in ("I_T", "I_S", "elbo", "seed"))

    return {name for name, row in pictured(rows).items() if same(row)}


def _write(
    rows: Sequence[Row], folder: Path, text: str, pictures: Sequence[str], where: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_table(rows, folder, TABLE)
    shown = "\n\n".join(f"![{caption(name)}]({where}{name}.png)" for name in pictures)
    write_atomically(folder / f"{NAME}.md", f"{text}\n\n{shown}\n")


def report(every: Sequence[Block], all_rows: Sequence[Row]) -> list[str]:
    """Lists the parts of the text."""
    rows = without_fresh(every, all_rows)
    h1 = judge_h1(every, rows)
    secondary = {hypothesis: hypothesis.find(rows) for hypothesis in SECONDARY}
    outcomes = {h: h.outcome(findings, every, rows) for h, findings in secondary.items()}
    return [
        _verdicts(h1, secondary, outcomes),
        "***H1***",
        _verdict(h1),
        _contrasts(rows, h1),
        *_decomposed(rows),
        weights(rows),
        fresh_seeds(every, all_rows),
        "***Checks***",
        checks_table(rows),
        "***H2 to H6***",
        *_secondary(rows, secondary, outcomes),
        "**H5, adversary**: not tested here; it takes adversarial training.",
        "***Cells***",
        seeds_done(every, all_rows),
        *scores(every, rows),
        *generator(every, rows),
        categories(every, rows),
        *main_model_tables(rows),
    ]


def _verdicts(h1: H1, secondary: Secondary, outcomes: Mapping[Hypothesis, str]) -> str:
    """All hypotheses in one table."""
    body: list[tuple[str, str, str]] = [("H1, the poster's", _word(h1), _decisive(h1))]
    for hypothesis, (finding, *_) in secondary.items():  # the rule's own come first
        first = f"{finding.text}: {mean_text(finding.mean, 3)}" if finding.mean.values else "-"
        body.append((hypothesis.name, outcomes[hypothesis], first))
    body.append(("H5, adversary", "not tested here", "-"))
    body.sort(key=lambda line: line[0])
    return table("Verdicts", ("hypothesis", "verdict", "its first number (95 %)"), body)


def _word(h1: H1) -> str:
    if h1.verdict is None:
        return f"not judged yet ({_lacking(h1) or h1.lost})"
    refuted = {"refuted": "refuted (in this model class)"}
    void = f" (checks fail on {', '.join(_families(h1))})" if h1.verdict.void else ""
    return refuted.get(h1.verdict.outcome, h1.verdict.outcome) + void


def _families(h1: H1) -> list[str]:
    assert h1.verdict is not None
    return list(dict.fromkeys(reason.partition(": ")[0] for reason in h1.verdict.void))


def _lacking(h1: H1) -> str:
    lost = [f"{count} runs on {name}" for name, count in h1.missing.items() if count]
    return f"not done: {', '.join(lost)}" if lost else ""


def _decisive(h1: H1) -> str:
    one = h1.contrasts["re-inked", "I_T"].contrast
    if one is None:
        return "-"
    text = f"interaction of I_T on re-inked digits: {number(one.mean, 3)}"
    return f"{text} ({span(one.interval(0.95))})"


def _verdict(h1: H1) -> str:
    share = f"The leading code of T follows the uniform factor in {100 * h1.following:.0f} % of "
    share += "the runs on re-inked digits (at least 80 % for *confirmed*)."
    lines = [f"**H1: {_word(h1)}.**"] + ([] if math.isnan(h1.following) else [share])
    if h1.verdict is None:
        return " ".join(lines)
    text = [" ".join(lines)]
    # A check that fails stands against both: once is enough.
    void = [f"- void: {reason}" for reason in h1.verdict.void]
    others = [f"- {r}" for r in h1.verdict.reasons if r.partition(": ")[2] not in h1.verdict.void]
    text += [*void, *others]
    if h1.verdict.more_seeds:
        text.append("- seeds are to be added once (`--add-seeds`)")
    elif h1.verdict.outcome == "undecided":
        text.append(f"- seeds were added once, to {MOST_SEEDS} on re-inked digits")
    return "\n".join([text[0], "", *text[1:]]) if text[1:] else text[0]


def _measures(family: Family) -> dict[str, str]:
    """The primary measures, and the mirrored one where the law of S is exchanged, too."""
    beside = {} if family == "resampled" else {"I_S": "I_S (nats), not in the rule"}
    return {**PRIMARIES, **beside}


def _contrasts(rows: Sequence[Row], h1: H1) -> str:
    body = []
    for weight in (MI_WEIGHT, 0.0):
        for family, data in FAMILIES.items():
            for name, label in _measures(family).items():
                result = h1.contrasts.get((family, name)) if weight == MI_WEIGHT else None
                result = result or contrast(
                    rows, name, arms=("T", "G"), data=data, mi_weight=weight
                )
                adjusted = h1.adjusted.get(name) if family == "re-inked" and weight else None
                line = contrast_line(result, adjusted)
                if line is not None:
                    note = " (exploratory)" if Cell("T", data[0], weight) in EXPLORATORY else ""
                    body.append((f"{family}, λ {weight:g}{note}", label, *line))
        for name, label in PRIMARIES.items():
            result = contrast(
                rows, name, arms=("T", "G"), data=("D1-control", "D2-control"), mi_weight=weight
            )
            line = contrast_line(result, None)
            if line is not None:
                text = f"resampled with permuted weights, λ {weight:g}: 0 is expected"
                body.append((text, label, *line))
    head = ("data", "of", "mean", "95 %", "90 %", "p, sign flips", "Holm", "p, Welch", "seeds")
    title = "The interaction [y(T, first) − y(T, second)] − [y(G, first) − y(G, second)]"
    return table(title, head, body)


def _decomposed(rows: Sequence[Row]) -> list[str]:
    """By the control P: in the plan for re-inked digits, exploratory for sprites."""
    parts = []
    shown: dict[Family, str] = {"re-inked": "re-inked digits", "sprites": "sprites (exploratory)"}
    for family, on in shown.items():
        body = []
        for arms in (("P", "G"), ("T", "P")):
            for weight in (MI_WEIGHT, 0.0):
                for name, label in _measures(family).items():
                    data = FAMILIES[family]
                    result = contrast(rows, name, arms=arms, data=data, mi_weight=weight)
                    if (line := contrast_line(result, None)) is not None:
                        cells = (*line[:4], *line[5:])  # without Holm's
                        body.append((f"{arms[0]} against {arms[1]}, λ {weight:g}", label, *cells))
        head = ("arms", "of", "mean", "95 %", "90 %", "p, sign flips", "p, Welch", "seeds")
        parts.append(table(f"The same with the control P, on {on}", head, body))
    return parts


def _secondary(
    rows: Sequence[Row], secondary: Secondary, outcomes: Mapping[Hypothesis, str]
) -> list[str]:
    parts = []
    for hypothesis, findings in secondary.items():
        outcome = outcomes[hypothesis]
        if not any(finding.mean.values for finding in findings):
            parts.append(f"**{hypothesis.name}: {outcome}.** {hypothesis.claim}")
            continue
        body = [
            (
                finding.text,
                mean_text(finding.mean, 3),
                *([p_value(finding.p)] if hypothesis.tested else []),
                {None: "-", True: "yes", False: "no"}[finding.holds]
                if finding.counts
                else "not in the rule",
                len(finding.mean.values),
            )
            for finding in findings
        ]
        head = ("", "mean (95 %)", *(["Holm's p"] if hypothesis.tested else []), "holds", "seeds")
        title = f"{hypothesis.name}, secondary: {outcome}"
        text = f"{hypothesis.claim} Rule: {hypothesis.rule}"
        if hypothesis.dci:
            counts = [f"{name} {k} of {n}" for name, (k, n) in weak(rows, findings).items()]
            text += " DCI-D sees T and S only, and leaves out a factor that the code hardly "
            text += f"predicts (R² below {WEAK}: {', '.join(counts)} runs), which makes it "
            text += "large; modularity sees the label, too."
        parts.append(f"{table(title, head, body)}\n\n{text}")
    return parts
