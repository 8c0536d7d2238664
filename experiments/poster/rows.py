"""The numbers of `experiments.poster`: rows from its runs' folders, and statistics of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import interpolate, stats

from experiments.estimates import Interval, bootstrap, rank_correlation
from experiments.poster.trainings import Training
from experiments.tables import Row, leaving_out, number, read_json, span
from pyro_mivae import runs
from pyro_mivae.runs.history import History

USUAL = "as the poster"
"""The variant of the block "what-decides" that changes nothing."""
IGNORED = 0.5
"""Nats of KL below which a site is said to be ignored."""
EARLY = (100, 250, 550, 1100, 2750)
"""Steps at which the KL of the noise is noted, to see when its fate is decided."""
SIDES, GUIDES = ("lower", "upper"), ("own", "refitted")


def read_row(training: Training, folder: Path) -> Row | None:
    """Reads a finished run, with its measurement if there is one; None if it is not done."""
    path = folder / training.name / runs.METRICS
    if not path.exists():
        return None
    metrics = read_json(path)
    row = {"run": training.name, **dataclasses.asdict(training), **metrics["test"]}
    row["log_evidence"] = metrics["log_evidence"]["mean"]
    row["training_seconds"] = metrics["seconds"]["training"]
    history = History.read_csv(folder / training.name / runs.HISTORY)
    steps, values = history.series("kl/z")
    by_step = dict(zip(steps, values, strict=True))
    row |= {f"kl/z after {s}": by_step.get(s, math.nan) for s in EARLY if s <= training.steps}
    measured = folder / f"information-{training.name}" / "information.json"
    if measured.exists():
        row |= _information(read_json(measured)["curves"])
    return row


def _information(curves: Mapping[str, Any]) -> Row:
    """The bounds at the largest number of samples, by guide and code."""
    row: Row = {}
    for g, guide in enumerate(curves["coords"]["guide"]):
        for c, code in enumerate(curves["coords"]["codes"]):
            code = code.replace(", ", "+")
            row[f"bound/{code}/{guide}"] = curves["barber_agakov"][g][c]
            for side in SIDES:
                values = np.array(curves[side][g][c], float)
                last = int(np.flatnonzero(~np.isnan(values))[-1])
                row[f"{side}/{code}/{guide}"] = float(values[last])
                row[f"{side}/{code}/{guide}_se"] = float(curves[f"{side}_se"][g][c][last])
    return row


def read_rows(trainings: Iterable[Training], folder: Path) -> list[Row]:
    """Reads the rows of those that are done, each once."""
    rows: list[Row] = []
    for training in dict.fromkeys(trainings):
        with leaving_out(folder / training.name / runs.METRICS):
            row = read_row(training, folder)
            rows += [] if row is None else [row]
    return rows


def dimension_rows(trainings: Iterable[Training], folder: Path) -> list[Row]:
    """Reads KL, score, bound and worth to the reconstruction of each dimension, a row each."""
    rows: list[Row] = []
    for training in dict.fromkeys(trainings):
        path = folder / training.name / runs.METRICS
        if not path.exists():
            continue
        own_rows: list[Row] = []
        with leaving_out(path):
            terms = read_json(path)["per_dimension"]
            for site in ("c", "z"):
                columns = {
                    "kl": terms[site]["kl"],
                    "score": terms[site]["mi/mean"],
                    "bound": terms[site]["mi/sample"],
                    "aggregate": terms[site]["aggregate_mi"],
                    "loss": terms[site]["resampling_loss"],
                }
                for d, values in enumerate(zip(*columns.values(), strict=True)):
                    own = dict(zip(columns, values, strict=True))
                    own_rows.append(
                        {**dataclasses.asdict(training), "site": site, "dimension": d, **own}
                    )
            rows += own_rows
    return rows


def spearman(rows: Sequence[Row], first: str, second: str = "loss") -> Interval:
    """Correlates the ranks of two columns over dimensions; the bootstrap resamples dimensions."""
    return bootstrap(rows, (first, second), rank_correlation)


def spearman_difference(rows: Sequence[Row], first: str, other: str) -> Interval:
    """Estimates by how much `first` ranks the loss better than `other`: the paired difference."""
    return bootstrap(
        rows,
        (first, other, "loss"),
        lambda x, y, loss: rank_correlation(x, loss) - rank_correlation(y, loss),
    )


def frontier(rows: Iterable[Row], column: str) -> Callable[[float], float]:
    """Interpolates a column on the beta-frontier (lambda = 0) at a KL; NaN beyond its ends.

    Between the points it is a monotone cubic: chords would lie below a frontier that is concave.
    """
    knots, curve = smooth([(row["kl"], row[column]) for row in rows if row["mi_weight"] == 0])
    return lambda kl: float(curve(kl)) if len(knots) > 1 else math.nan


def smooth(points: Iterable[tuple[float, float]]) -> tuple[list[float], Callable[[Any], Any]]:
    """Fits a monotone cubic through points; equal first coordinates have the mean of the second.

    Returns:
        The first coordinates, each once and in ascending order, and the curve over them: NaN
        beyond the ends. A single point is a curve of its own.
    """
    groups: dict[float, list[float]] = {}
    for x, y in points:
        groups.setdefault(float(x), []).append(float(y))
    knots = sorted(groups)
    means = [float(np.mean(groups[x])) for x in knots]
    if len(knots) < 2:
        return knots, lambda x: np.full(np.shape(x), means[0] if means else math.nan)
    return knots, interpolate.PchipInterpolator(knots, means, extrapolate=False)


def gaps(rows: Sequence[Row]) -> list[Row]:
    """Computes how far each point with the term lies from the beta-frontier at its KL, in nats."""
    columns = ("log_likelihood", "mi/mean", "mi/sample")
    curves = {column: frontier(rows, column) for column in columns}
    distances = []
    for row in rows:
        if row["mi_weight"] and row["kl_weight"] == 1:
            gap = {column: row[column] - curves[column](row["kl"]) for column in columns}
            names = ("channel", "mi_weight", "seed")
            distances.append({**{name: row[name] for name in names}, **gap})
    return distances


def shares(rows: Iterable[Row]) -> list[Row]:
    """Computes the share of the code in the KL and in the score."""
    return [
        {
            **{name: row[name] for name in ("run", "size", "channel", "seed", "kl/c", "kl/z")},
            "share_kl": row["kl/c"] / row["kl"],
            "share_score": row["mi/c/mean"] / row["mi/mean"],
        }
        for row in rows
    ]


def variant(training: Row) -> str:
    """Says what a training of the block "what-decides" changes."""
    if training["mi_warmup"]:
        return f"lambda grows over {training['mi_warmup']} steps"
    if training["init_gain"] != 1:
        return f"initial weights times {training['init_gain']:g}"
    return USUAL


def init_seed(training: Row) -> int:
    """Returns the seed of the weights, which is that of all else unless it is given."""
    own: int | None = training["init_seed"]
    return int(training["seed"]) if own is None else own


def crossed(rows: Sequence[Row], column: str) -> dict[str, tuple[float, float]]:
    """Computes what the seeds of weights and of batches explain where each meets each of the other.

    Args:
        rows: Rows, one for each pair of seeds; others are left out.
        column: Column that is explained.

    Returns:
        For each seed and for the rest, its share of the sum of squares and the p of its F test
        against the rest (two factors, no replication; NaN for the rest). Empty unless the
        crossing is whole.
    """
    by_seeds = {(r["init_seed"], r["seed"]): r[column] for r in rows if r["init_seed"] is not None}
    weights, batches = (sorted({pair[i] for pair in by_seeds}) for i in (0, 1))
    if min(len(weights), len(batches)) < 2 or len(by_seeds) < len(weights) * len(batches):
        return {}
    values = np.array([[by_seeds[w, b] for b in batches] for w in weights])
    parts = {
        "seed of the weights": values.mean(1, keepdims=True) - values.mean(),
        "seed of the batches and draws": values.mean(0, keepdims=True) - values.mean(),
    }
    rest = values - values.mean() - sum(parts.values())
    total, left = float(np.square(values - values.mean()).sum()), float(np.square(rest).sum())
    if total == 0:
        return {}
    free = (len(weights) - 1) * (len(batches) - 1)
    shares = {}
    for name, part in parts.items():
        squares = float(np.square(np.broadcast_to(part, values.shape)).sum())
        own = part.size - 1
        f = (squares / own) / (left / free) if left else math.inf
        shares[name] = (squares / total, float(stats.f.sf(f, own, free)))
    return {**shares, "neither alone": (left / total, math.nan)}


def changes(rows: Sequence[Row], column: str) -> dict[str, list[float]]:
    """Computes each variant's changes against the poster's training with the same seeds."""
    usual = {
        row["seed"]: row[column]
        for row in rows
        if variant(row) == USUAL and init_seed(row) == row["seed"]
    }
    differences: dict[str, list[float]] = {}
    for row in rows:
        if variant(row) != USUAL and row["seed"] in usual:
            differences.setdefault(variant(row), []).append(row[column] - usual[row["seed"]])
    return differences


def mean_and_range(values: Iterable[float]) -> str:
    """Writes the mean of several numbers with the smallest and the largest."""
    finite = [v for v in values if not math.isnan(v)]
    if not finite:
        return "-"
    text = number(float(np.mean(finite)), 1)
    if len(finite) > 1:
        text += f" ({span((min(finite), max(finite)), 1)})"
    return text


def run_label(row: Row) -> str:
    """Labels a run in a table or a figure that has several channels."""
    return f"{row['size']} + {row['size']}, λ {row['mi_weight']:g}, seed {row['seed']}"


def best_dimensions(run: Path) -> dict[str, int]:
    """Finds the dimension of each site with the largest KL."""
    metrics = read_json(run / runs.METRICS)
    return {site: int(np.argmax(metrics["per_dimension"][site]["kl"])) for site in ("c", "z")}
