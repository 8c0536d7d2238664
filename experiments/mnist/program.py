"""The main experiment: a training, its measurements, draws and figures.

Its command line is in :mod:`experiments.mnist.config`.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from lightning_fabric import Fabric

from experiments.mnist.config import (
    COMPILE,
    Config,
    parse_run,
    read_settings,
)
from experiments.mnist.metrics import PARTS, evaluate_loss, implausible, measure, report
from experiments.mnist.model import build
from experiments.one_run import Place, start_run
from experiments.tables import read_json
from pyro_mivae import inference_data, plotting, runs
from pyro_mivae.datasets import Digits
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.progress import part
from pyro_mivae.runs import groups
from pyro_mivae.training import (
    Callback,
    Event,
    adam,
    evaluation,
    fit,
)
from pyro_mivae.training.checkpoints import load_checkpoint
from pyro_mivae.training.rebuilding import trained_guide
from pyro_mivae.vae import MIVAE

TOGETHER = "together.json"
"""In the folder of a run that was trained with other seeds: which, and its seconds."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    return start_run("mnist", arguments, parse_run, read_settings, build, run)


def run(
    config: Config, place: Place, pair: tuple[MIVAE, TraceMI_ELBO], digits: Digits, fabric: Fabric
) -> None:
    """Trains a VAE; the first of several processes measures it, and draws into the folder."""
    training, folder = config.training, place.folder
    started = time.monotonic() - seconds_together(folder) - place.seconds
    vae, elbo = pair
    digits = digits.to(fabric.device)
    with part(1, PARTS):
        history = fit(
            vae.model,
            trained_guide(vae),
            elbo,
            digits.train.images,
            **training_settings(config, vae),
            seed=training.seed,
            compile=COMPILE[training.compile],
            devices=training.devices,
            callbacks=[recorder(config, place, pair, digits)],
            folder=folder,
            resume=place.resume,
        )
    if not fabric.is_global_zero:
        return
    noted = load_checkpoint(folder)["record"]
    trained = time.monotonic() - started
    metrics, dimensions = measure(config, vae, elbo, digits.test)
    if warning := implausible(history, metrics["test"]):
        metrics["warning"] = warning
    metrics["step"] = training.steps
    metrics["seconds"] = {"training": trained, "total": time.monotonic() - started}
    if "steps" in noted:  # not in those of earlier versions
        metrics["steps"] = {"computed": noted["steps"], "because": noted["steps_because"]}
    _write_draws(config, vae, digits, dimensions, folder)
    plotting.redraw(folder)
    runs.write_json(folder / runs.METRICS, metrics)  # last: a run that has it is done
    report(config, metrics, folder)


def training_settings(config: Config, vae: MIVAE) -> dict[str, Any]:
    """Gives the arguments that are the same for `fit` and `fit_many`."""
    training = config.training
    return {
        "steps": training.steps,
        "batch_size": training.batch_size,
        "prepare": vae.observe,
        "optimizer": partial(adam, learning_rate=training.learning_rate),
        "device": training.device,
        "precision": training.precision,
        "log_every": max(n for n in range(1, 51) if training.validate_every % n == 0),
        "checkpoint_every": training.checkpoint_every,
    }


def recorder(
    config: Config, place: Place, pair: tuple[MIVAE, TraceMI_ELBO], digits: Digits
) -> Callback:
    """Makes the callback that validates, and writes the history into the run's folder."""
    vae, elbo = pair

    def record(event: Event) -> None:
        if event.kind == "log" and event.step % config.training.validate_every == 0:
            terms = evaluate_loss(vae, elbo, digits.validation.images)
            del terms["elbo"]  # log_likelihood - kl, as in the rows of the training
            event.history.add(event.step, event.epoch, "validation", terms)
        if event.kind != "epoch":
            event.history.write_csv(place.folder / runs.HISTORY)
            place.settle()

    return record


def seconds_together(folder: Path) -> float:
    """Returns a run's share of a training with other seeds; 0 for one of its own."""
    path = folder / TOGETHER
    return float(read_json(path)["seconds_per_seed"]) if path.exists() else 0.0


def _write_draws(
    config: Config, vae: MIVAE, digits: Digits, dimensions: xr.Dataset, folder: Path
) -> None:
    count = min(500, len(digits.test))
    images, labels = digits.test.images[:count], digits.test.labels[:count]
    with evaluation(device=images.device, seed=config.training.seed):
        x = vae.observe(images)
    tree = inference_data.inference_data(
        vae,
        x,
        images=images,
        labels=labels,
        information=dimensions,
        attrs={
            "data": digits.name,
            "images": f"the first {count} of the {len(digits.test)} test images",
        },
        seed=config.training.seed,
    )
    inference_data.write(tree, folder / groups.FILE)


if __name__ == "__main__":
    sys.exit(main())
