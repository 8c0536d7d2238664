"""The report of `experiments.poster`: tables and figures, from the runs' folders alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.estimates import rank_correlation, standard_error
from experiments.poster.figures import READ_OFF, draw
from experiments.poster.rows import (
    EARLY,
    IGNORED,
    SIDES,
    changes,
    crossed,
    dimension_rows,
    gaps,
    init_seed,
    mean_and_range,
    read_rows,
    shares,
    spearman,
    spearman_difference,
    variant,
)
from experiments.poster.trainings import CHANNELS, Block, Training
from experiments.tables import (
    Row,
    at,
    number,
    span,
    table,
    write_table,
)
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs.files import write_atomically


def write_report(every: Sequence[Block], folder: Path, docs: Path | None = None) -> Path | None:
    """Writes table, report and figures of what is done so far; returns the report's path.

    Args:
        every: Blocks of the study.
        folder: Folder of the runs.
        docs: Folder of a documentation, whose ``results`` and ``figures`` get them, too.
    """
    trainings = {block.name: block.trainings for block in every}
    rows = {name: read_rows(each, folder) for name, each in trainings.items()}
    all_rows = read_rows((t for each in trainings.values() for t in each), folder)
    if not all_rows:
        return None
    text = "\n\n".join(part for part in _parts(rows, trainings, folder) if part) + "\n"
    figures = draw(trainings, rows, folder)
    write_table(all_rows, folder, "poster.csv")
    write_atomically(folder / "poster.md", text)
    save(figures, folder)
    if docs is not None:
        write_table(all_rows, docs / "results", "poster.csv")
        write_atomically(docs / "results" / "poster.md", text)
        save({f"poster_{name}": figure for name, figure in figures.items()}, docs)
    return folder / "poster.md"


def _parts(
    rows: Mapping[str, Sequence[Row]], trainings: Mapping[str, Sequence[Training]], folder: Path
) -> list[str]:
    dimensions = {
        "5 + 5, lambda 1": [t for t in trainings["figure-3"] if t.mi_weight],
        "5 + 5, lambda 0": [t for t in trainings["figure-3"] if not t.mi_weight],
        "10 + 10, mean": trainings["figure-4"],
        "10 + 10, straight-through": [
            t for t in trainings["channels"] if t.channel == "straight-through"
        ],
    }
    return [
        _figure_3(rows["figure-3"]),
        _figure_4([*rows["figure-4"], *rows["figure-4-seeds"]]),
        _what_it_is([*rows["figure-3"], *rows["figure-4"], *rows["channels"]]),
        _trade_off([*rows["trade-off"], *at(rows["capacity"], size=5)]),
        _capacity(rows["capacity"]),
        _dimensions({name: dimension_rows(each, folder) for name, each in dimensions.items()}),
        _what_decides(rows["what-decides"], [*rows["figure-4"], *rows["figure-4-seeds"]]),
        _precision(at(rows["figure-3"], mi_weight=1.0), rows["precision"]),
    ]


def _figure_3(rows: Sequence[Row]) -> str:
    body = []
    for label, weight in (("with the term on c", 1.0), ("without", 0.0)):
        chosen = at(rows, mi_weight=weight)
        for name, kl in (("mi/c", "kl/c"), ("mi/z", "kl/z"), ("mi", "kl")):
            score, rate = (mean_and_range(r[c] for r in chosen) for c in (f"{name}/mean", kl))
            site = {"mi/c": "c", "mi/z": "z", "mi": "c, z"}[name]
            read = READ_OFF[label][name]
            body.append((label, f"I({site}; x')", read, score, rate, len(chosen)))
    head = ("", "", "poster", "score, mean (range)", "KL, mean (range)", "seeds")
    return table("Figure 3: 5 + 5 dimensions, 25 epochs, at the end", head, body)


def _figure_4(rows: Sequence[Row]) -> str:
    body = [
        (
            row["seed"],
            row["steps"],
            *(number(row[c], 1) for c in ("mi/c/mean", "mi/z/mean", "kl/c", "kl/z")),
            "yes" if row["kl/z"] < IGNORED else "no",
        )
        for row in sorted(rows, key=lambda row: row["seed"])
    ]
    head = ("seed", "steps", "score of c", "score of z", "KL of c", "KL of z", "z ignored")
    return table("Figure 4: 10 + 10 dimensions, lambda 1, x' the mean", head, body)


def _what_it_is(rows: Sequence[Row]) -> str:
    body = []
    for row in {row["run"]: row for row in rows if "bound/c/refitted" in row}.values():
        for code in ("c", "z", "c+z"):
            prefix = "mi" if code == "c+z" else f"mi/{code}"
            interval = {
                guide: span([row[f"{side}/{code}/{guide}"] for side in SIDES], 1)
                for guide in ("own", "refitted")
            }
            body.append(
                (
                    f"{row['channel']}, {row['size']} + {row['size']}, λ {row['mi_weight']:g}, "
                    f"seed {row['seed']}",
                    code.replace("+", ", "),
                    number(row[f"{prefix}/mean"], 1),
                    number(row[f"{prefix}/sample"], 1),
                    interval["own"],
                    number(row[f"bound/{code}/refitted"], 1),
                    interval["refitted"],
                    number(row["log_likelihood"], 1),
                    number(row["elbo"], 1),
                )
            )
    head = (
        "run",
        "site",
        "score, x' the mean",
        "bound, x' sampled",
        "between, own guide",
        "bound, refitted guide",
        "between, refitted guide",
        "log-likelihood",
        "ELBO",
    )
    return table("What the MI is: I(.; x') in nats", head, body)


def _trade_off(rows: Sequence[Row]) -> str:
    distances = gaps(list({row["run"]: row for row in rows}.values()))
    body = [
        (
            row["channel"],
            f"{row['mi_weight']:g}",
            row["seed"],
            *(number(row[c], 1) for c in ("log_likelihood", "mi/mean", "mi/sample")),
        )
        for row in sorted(
            distances, key=lambda r: (CHANNELS.index(r["channel"]), r["mi_weight"], r["seed"])
        )
    ]
    head = ("channel", "λ", "seed", "log-likelihood", "score", "bound")
    title = "From the β-frontier of seed 0 at the same KL, nats (5 + 5, 5 epochs)"
    return table(title, head, body)


def _capacity(rows: Sequence[Row]) -> str:
    body = []
    code_shares = shares(rows)
    for channel in CHANNELS:
        for size in sorted({row["size"] for row in code_shares}):
            chosen = at(code_shares, channel=channel, size=size)
            if chosen:
                kl = [f"{row['kl/z']:.1f}" for row in chosen]
                share = [f"{number(100 * row['share_kl'], 0)} %" for row in chosen]
                score = [f"{number(100 * row['share_score'], 0)} %" for row in chosen]
                body.append((channel, size, ", ".join(share), ", ".join(score), ", ".join(kl)))
    head = ("channel", "\\|c\\| = \\|z\\|", "c's share of the KL", "of the score", "KL of z, nats")
    return table("With more dimensions (λ 1, 5 epochs; a number for each seed)", head, body)


def _dimensions(groups: Mapping[str, Sequence[Row]]) -> str:
    body = []
    for name, rows in groups.items():
        for site, chosen in (
            ("c and z", rows),
            ("c", at(rows, site="c")),
            ("z", at(rows, site="z")),
        ):
            if chosen:
                columns = ("score", "bound", "kl", "aggregate")
                correlations = (spearman(chosen, column) for column in columns)
                difference = spearman_difference(chosen, "score", "kl")
                body.append((name, site, len(chosen), *correlations, difference))
    head = ("runs", "of", "dimensions", "score", "bound", "KL", "I_q", "score less KL")
    title = "Rank correlation with the log-likelihood lost without the dimension (95 %)"
    return table(title, head, body)


def _what_decides(rows: Sequence[Row], traces: Sequence[Row]) -> str:
    body = []
    for row in rows:
        init = init_seed(row)
        ignored = "yes" if row["kl/z"] < IGNORED else "no"
        values = (row["kl/z after 550"], row["kl/z"])
        body.append((variant(row), init, row["seed"], *(f"{v:.1f}" for v in values), ignored))
    head = (
        *("variant", "seed of the weights", "seed of the batches and draws"),
        *("KL of z after 550 steps", "at the end", "z ignored"),
    )
    first = table("What decides: 10 + 10, x' the mean, 5 epochs", head, body)
    explained = table(
        "Of the variance of the KL of z where each seed meets each",
        ("explained by", "share", "p of F"),
        [
            (name, f"{100 * share:.0f} %", number(p) if p == p else "-")
            for name, (share, p) in crossed(rows, "kl/z").items()
        ],
    )
    changed = table(
        "The KL of z against that of the poster's training with the same seeds",
        ("variant", "differences", "mean"),
        [
            (name, ", ".join(number(v, 1) for v in values), number(float(np.mean(values)), 1))
            for name, values in changes(rows, "kl/z").items()
        ],
    )
    early = [(s, _early(traces, s)) for s in EARLY]
    second = table(
        "Rank correlation of the KL of z at a step with that at the end (seeds of Figure 4)",
        ("step", "Spearman"),
        [(step, number(value)) for step, value in early if not np.isnan(value)],
    )
    return "\n\n".join(part for part in (first, explained, changed, second) if part)


def _early(rows: Sequence[Row], step: int) -> float:
    name = f"kl/z after {step}"
    pairs = [(row[name], row["kl/z"]) for row in rows if name in row and row["steps"] > step]
    return float(rank_correlation(*np.array(pairs).T)) if len(pairs) > 2 else np.nan


def _precision(single: Sequence[Row], others: Sequence[Row]) -> str:
    """Both against the compiled fp32 runs: bf16, and the control that only rounds differently."""
    columns = ("elbo", "mi/c/mean", "mi/z/mean", "mi/c/sample", "mi/z/sample")
    body: list[tuple[object, ...]] = []
    differences: dict[bool, list[float]] = {True: [], False: []}
    for one in single:
        for other in at(others, seed=one["seed"]):
            eager = other["eager"]
            differences[eager].append(other["elbo"] - one["elbo"])
            pairs = [f"{number(one[c])}, {number(other[c])}" for c in columns]
            body.append(
                (
                    "fp32, eager" if eager else "bf16, compiled",
                    one["seed"],
                    pairs[0],
                    _signed(differences[eager][-1]),
                    *pairs[1:],
                )
            )
    head = (
        *("against fp32, compiled", "seed", "ELBO", "difference"),
        *(f"{name} of {site}" for name in ("score", "bound") for site in "cz"),
    )
    text = table("bf16 mixed precision, 5 + 5, λ 1, 25 epochs", head, sorted(body))
    means = [
        f"{name} {_signed(float(np.mean(values)))} ± {number(standard_error(values))}"
        for name, values in (("bf16", differences[False]), ("fp32, eager", differences[True]))
        if len(values) > 1
    ]
    return (
        f"{text}\n\nMean difference and its standard error: {', '.join(means)}." if means else text
    )


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)
