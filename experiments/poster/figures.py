"""The figures of `experiments.poster`, from the runs' folders alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.mnist.config import read_settings
from experiments.mnist.model import load
from experiments.poster.plots.claims import capacity, dimension_loss, tradeoff
from experiments.poster.plots.graphical_models import duality
from experiments.poster.plots.grids import latent_grid, latent_grid_sheet
from experiments.poster.plots.run_outcomes import by_init_and_order, information_columns, outcomes
from experiments.poster.plots.traces import information_traces
from experiments.poster.rows import (
    IGNORED,
    SIDES,
    best_dimensions,
    dimension_rows,
    init_seed,
    run_label,
    shares,
    spearman,
    variant,
)
from experiments.poster.trainings import Training
from experiments.tables import Row
from pyro_mivae import plotting, runs
from pyro_mivae.datasets import load_digits
from pyro_mivae.plotting.style import mi_name
from pyro_mivae.runs import groups
from pyro_mivae.runs.history import History
from pyro_mivae.training import evaluation
from pyro_mivae.vae import MIVAE

STEPS = tuple(np.linspace(-2.5, 2.5, 8).round(2).tolist())
"""Values of a dimension in a traversal, as in the poster."""
COARSE = [0, 2, 5, 7]
"""Indices of the values in the sheet of all pairs."""
READ_OFF = {
    "with the term on c": {"mi": 21.5, "mi/c": 17.0, "mi/z": 4.7},
    "without": {"mi": 14.0, "mi/c": 5.5, "mi/z": 8.5},
}
"""The poster's Figure 3 at its end, nats, read off the plot."""
READ_OFF_4 = {"mi/c": 28.0, "mi/z": 0.0}
"""The poster's Figure 4 at its end, nats, read off the plot."""

Rows = Mapping[str, Sequence[Row]]
Trainings = Mapping[str, Sequence[Training]]


def draw(trainings: Trainings, rows: Rows, folder: Path) -> dict[str, Figure]:
    """Draws all figures that the finished runs allow, by name."""
    figures = _traces(trainings, folder)
    figures |= _traversals(trainings, rows, folder)
    figures |= _dimension_loss(trainings, folder)
    return figures | of_rows(rows)


def of_rows(rows: Rows) -> dict[str, Figure]:
    """Draws the figures that need no run's folder, by name."""
    figures = {"duality": duality()}
    if rows["trade-off"]:
        figures["tradeoff"] = tradeoff(
            [
                {**row, "mi_score": row["mi/mean"], "mi_bound": row["mi/sample"]}
                for row in rows["trade-off"]
            ],
            code="c, z",
        )
    if code_shares := shares(rows["capacity"]):
        named = [
            {**row, "kl_share": row["share_kl"], "mi_share": row["share_score"]}
            for row in code_shares
        ]
        figures["capacity"] = capacity(named, measure=mi_name("mean"))
    figures |= _columns([*rows["figure-3"], *rows["figure-4"], *rows["channels"]])
    figures |= _outcomes(rows)
    return figures


def _histories(trainings: Sequence[Training], folder: Path) -> list[History]:
    paths = (folder / training.name for training in trainings)
    done = [path for path in paths if (path / runs.METRICS).exists()]
    return [History.read_csv(path / runs.HISTORY) for path in done]


def _traces(trainings: Trainings, folder: Path) -> dict[str, Figure]:
    figures = {}
    pair = {
        "with the term on c": [t for t in trainings["figure-3"] if t.mi_weight],
        "without": [t for t in trainings["figure-3"] if not t.mi_weight],
    }
    traces = {label: _histories(each, folder) for label, each in pair.items()}
    if traces := {label: each for label, each in traces.items() if each}:
        reference = {label: READ_OFF[label] for label in traces}
        figures["figure_3"] = information_traces(traces, channel="mean", reference=reference)
    large = [*trainings["figure-4"], *trainings["figure-4-seeds"]]
    if histories := _histories(large, folder):
        label = "10 + 10, the term on c"
        figures["figure_4"] = information_traces(
            {label: histories}, channel="mean", reference={label: READ_OFF_4}, each=True
        )
    return figures


def _traversals(trainings: Trainings, rows: Rows, folder: Path) -> dict[str, Figure]:
    """Draws c against z, all pairs and every dimension of the run whose noise has the least KL."""
    candidates = [*rows["figure-4"], *rows["channels"], *rows["figure-4-seeds"]]
    if not candidates:
        return {}
    least = min(candidates, key=lambda row: row["kl/z"])
    run = folder / least["run"]
    vae = load(run, torch.device("cpu"))
    digits = load_digits(read_settings(run).data.data, data_dir=read_settings(run).data.data_dir)
    grids = latent_grids(vae, digits.test.images[:1])
    best = best_dimensions(run)
    labels = f"c[{best['c']}]", f"z[{best['z']}]"
    tree, coarse = groups.read(run), [STEPS[place] for place in COARSE]
    return {
        "figure_5": latent_grid(
            grids[best["c"], best["z"]], first=STEPS, second=STEPS, labels=labels
        ),
        "figure_5_all": latent_grid_sheet(
            grids[:, :, COARSE][:, :, :, COARSE], first=coarse, second=coarse
        ),
        "figure_1": plotting.traversals(tree, channel="mean"),
    }


@torch.no_grad()
def latent_grids(vae: MIVAE, images: torch.Tensor) -> NDArray[np.float64]:
    """Makes mean images where a dimension of c and one of z move, all else as for the first image.

    Returns:
        Shape ``(C, Z, n, n, height, width)``, n the number of :data:`STEPS`.
    """
    with evaluation(vae.model, vae.guide, device=images.device, seed=0):
        posteriors = vae.guide.encode(vae.observe(images))
        c, z = (posteriors[site].mean[0] for site in ("c", "z"))
        steps = torch.tensor(STEPS, dtype=c.dtype)
        n, rows = len(steps), []
        for i in range(len(c)):
            for j in range(len(z)):
                codes, noise = c.repeat(n, n, 1), z.repeat(n, n, 1)
                codes[..., i], noise[..., j] = steps[:, None], steps[None, :]
                rows.append(vae.model.decode(codes, noise).mean)
    grids: NDArray[np.float64] = torch.stack(rows).double().numpy()
    return grids.reshape(len(c), len(z), *grids.shape[1:])


def _dimension_loss(trainings: Trainings, folder: Path) -> dict[str, Figure]:
    runs_of = [*trainings["figure-3"], *trainings["figure-4"]]
    dimensions = dimension_rows(runs_of, folder)
    if len(dimensions) < 3:
        return {}
    rows = [{**row, "mi": row["score"], "run": run_label(row)} for row in dimensions]
    correlations = {column: dataclasses.astuple(spearman(rows, column)) for column in ("mi", "kl")}
    figure = dimension_loss(rows, correlations=correlations, channel="mean")
    return {"dimension_loss": figure}


def _columns(rows: Sequence[Row]) -> dict[str, Figure]:
    measured = {row["run"]: row for row in rows if "bound/c/refitted" in row}.values()
    columns = [
        {
            "label": run_label(row),
            "channel": row["channel"] if row["mi_weight"] else "none",
            "site": site,
            "score": row[f"mi/{site}/mean"],
            "bound": row[f"mi/{site}/sample"],
            **{f"{g}_{s}": row[f"{s}/{site}/{g}"] for g in ("own", "refitted") for s in SIDES},
        }
        for row in measured
        for site in ("c", "z")
    ]
    return {"information_columns": information_columns(columns)} if columns else {}


def _outcomes(rows: Rows) -> dict[str, Figure]:
    named = [
        {
            "variant": variant(row),
            "seed": f"{init_seed(row)}, {row['seed']}",
            "kl_z": row["kl/z"],
            "ignored": row["kl/z"] < IGNORED,
        }
        for row in rows["what-decides"]
    ]
    figures = {}
    if named:
        figures["outcomes"] = outcomes(named, threshold=IGNORED)
    crossed = [row for row in rows["what-decides"] if row["init_seed"] is not None]
    inits, orders = ([*sorted({row[c] for row in crossed})] for c in ("init_seed", "seed"))
    cells = {(row["init_seed"], row["seed"]): row["kl/z"] for row in crossed}
    if len(cells) == len(inits) * len(orders) > 1:
        matrix = np.array([[cells[i, o] for o in orders] for i in inits])
        figures["init_and_order"] = by_init_and_order(matrix, init_seeds=inits, order_seeds=orders)
    return figures
