"""Train the mutual-information VAE on MNIST digits and measure what its code carries.

Leaves a folder with the settings, the training's history, a checkpoint, measurements on
the test images, ArviZ-readable draws and figures.

    python -m experiments.mnist --prior uniform
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from experiments._config import Config, parse_run, read_settings
from experiments._logging import errors_only
from pyro_mivae import groups, inference_data, parallel, plotting, runs, torchrun
from pyro_mivae.checkpoints import CheckpointError, has_checkpoint
from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.history import by_channel
from pyro_mivae.infer import Channel, TraceMI_ELBO
from pyro_mivae.information import LogEvidence, log_evidence, per_dimension
from pyro_mivae.information.maps import as_lists
from pyro_mivae.training import (
    Event,
    Interrupted,
    NonFiniteError,
    adam,
    evaluate,
    evaluation,
    fit,
    make_fabric,
)
from pyro_mivae.vae import MIVAE

SITES = {"c": "code c", "z": "noise z"}
CHANNELS: tuple[Channel, ...] = ("mean", "sample")
"""The channels under which the mutual information is always reported."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pyro_mivae.datasets").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config, folder = parse_run(arguments, __doc__ or "")
        fabric = make_fabric(config.training.device, devices=config.training.devices)
        if not fabric.is_global_zero:
            logging.disable(logging.WARNING)
            # Waits for the first process, which finds what is wrong and makes the folder.
            parallel.launch(fabric)
        vae, elbo = build(config)
        digits = load_digits(config.data.data, data_dir=config.data.data_dir)
        resume = fabric.is_global_zero and _claim(folder, config, digits)
    except (ValueError, OSError, RuntimeError) as error:
        return _fail(error)
    # Only now: what failed so far has failed in one process.
    parallel.launch(fabric)
    folder, resume = fabric.broadcast((folder, resume))
    try:
        with errors_only("pyro_mivae.information"):
            run(config, folder, vae, elbo, digits, fabric=fabric, resume=resume)
    except (Interrupted, NonFiniteError, CheckpointError) as error:
        if not fabric.is_global_zero:
            return 0  # all processes stop alike, and the first one says it
        if not isinstance(error, Interrupted):
            return _fail(error)
        print(f"\n{error}; go on with\n  python -m experiments.mnist --resume {error.folder}")
        return 128 + error.signal
    return 0


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _claim(folder: Path, config: Config, digits: Digits) -> bool:
    """Makes the run's folder, or checks the one to go on with, and writes the settings.

    Returns whether the training goes on from a checkpoint.
    """
    found = {
        "name": digits.name,
        "checksum": digits.checksum,
        "source": digits.source,
        "train": len(digits.train),
        "validation": len(digits.validation),
        "test": len(digits.test),
    }
    output = config.output
    restart = output.resume is None and _restarted(folder, config)
    if output.resume is None and not restart:
        runs.create_run(folder, overwrite=output.overwrite)
    else:
        check_same_data(folder, digits)
    runs.write_config(folder, dataclasses.asdict(config), found, torchrun.job())
    return has_checkpoint(folder) if restart else output.resume is not None


def _restarted(folder: Path, config: Config) -> bool:
    """Whether torchrun started this process again, and the folder is of its run so far."""
    count, most = torchrun.restarts()
    if most and config.output.out is None:
        raise ValueError(
            "torchrun --max-restarts needs --out (or --resume): a restart finds its run by it"
        )
    if not count or not (folder / runs.CONFIG).is_file():
        return False
    before = runs.read_config(folder)
    return before.get("job") == torchrun.job() and read_settings(folder) == config


def check_same_data(folder: Path, digits: Digits) -> None:
    """Raises a ``ValueError`` unless the run in `folder` was on these data."""
    before = runs.read_config(folder)["data"]
    if before["checksum"] != digits.checksum:
        raise ValueError(
            f"the run in {folder} was on {before['name']} ({before['checksum'][:12]}), but the "
            f"data found now are {digits.name} ({digits.checksum[:12]}): say --data-dir"
        )


def build(config: Config) -> tuple[MIVAE, TraceMI_ELBO]:
    """Model, with the weights of its seed, and ELBO of a configuration."""
    seed = config.training.seed if config.training.init_seed is None else config.training.init_seed
    torch.manual_seed(seed)
    vae = MIVAE(
        code_dim=config.model.code_dim,
        noise_dim=config.model.noise_dim,
        prior=config.model.prior,
        posterior=config.model.posterior,
        noise_prior=config.model.noise_prior,
        likelihood=config.model.likelihood,
        encoder=config.model.networks,
        decoder=config.model.networks,
    )
    if config.model.init_gain != 1:
        with torch.no_grad():
            for name, weight in vae.named_parameters():
                if name.endswith("weight"):
                    weight.mul_(config.model.init_gain)
    weight, warmup = config.objective.mi_weight, config.objective.mi_warmup
    elbo = TraceMI_ELBO(
        channel=config.objective.channel,
        mi_weight=(lambda step: weight * min(1.0, step / warmup)) if warmup else weight,
        kl_weight=config.objective.kl_weight,
        codes="c",
    )
    return vae, elbo


def run(
    config: Config,
    folder: Path,
    vae: MIVAE,
    elbo: TraceMI_ELBO,
    digits: Digits,
    *,
    fabric: Fabric,
    resume: bool,
) -> None:
    """Trains, measures and draws into `folder`; of several processes the first does the rest."""
    started = time.monotonic()
    training = config.training
    digits = digits.to(fabric.device)

    def record(event: Event) -> None:
        if event.kind == "log" and event.step % training.validate_every == 0:
            terms = add_loss(evaluate_channels(vae, digits.validation.images), elbo)
            del terms["elbo"]  # log_likelihood - kl, as in the rows of the training
            event.history.add(event.step, event.epoch, "validation", terms)
        if event.kind != "epoch":
            event.history.write_csv(folder / runs.HISTORY)

    fit(
        vae.model,
        vae.guide,
        elbo,
        digits.train.images,
        steps=training.steps,
        batch_size=training.batch_size,
        prepare=vae.observe,
        optimizer=lambda parameters: adam(parameters, training.learning_rate),
        seed=training.seed,
        device=training.device,
        precision=training.precision,
        compile=training.compile,
        devices=training.devices,
        log_every=max(n for n in range(1, 51) if training.validate_every % n == 0),
        callbacks=[record],
        folder=folder,
        checkpoint_every=training.checkpoint_every,
        resume=resume,
    )
    if not fabric.is_global_zero:
        return
    trained = time.monotonic() - started
    metrics, dimensions = measure(config, vae, elbo, digits)
    metrics["seconds"] = {"training": trained, "total": time.monotonic() - started}
    _write_draws(config, vae, digits, dimensions, folder)
    plotting.redraw(folder)
    runs.write_json(folder / runs.METRICS, metrics)  # last: a run that has it is done
    _report(config, metrics, folder)


def evaluate_channels(vae: MIVAE, images: torch.Tensor) -> dict[str, float]:
    """The terms over `images` in nats per datum, every site as code under both channels."""
    terms: dict[str, float] = {}
    for channel in CHANNELS:
        measured = evaluate(
            vae.model,
            vae.guide,
            TraceMI_ELBO(channel=channel),
            images,
            prepare=vae.observe,
        )
        terms.update(by_channel(measured, channel))
    terms["elbo"] = terms["log_likelihood"] - terms["kl"]
    return terms


def add_loss(terms: dict[str, float], elbo: TraceMI_ELBO) -> dict[str, float]:
    """Adds the training's loss to the terms."""
    # The value of the drawing channels is one and the same; only their gradients differ.
    mi_weight, kl_weight = elbo.weights()
    mi = terms["mi/c/mean" if elbo.channel == "mean" else "mi/c/sample"]
    terms["loss"] = -terms["log_likelihood"] + kl_weight * terms["kl"] - mi_weight * mi
    return terms


def measure(
    config: Config, vae: MIVAE, elbo: TraceMI_ELBO, digits: Digits
) -> tuple[dict[str, Any], xr.Dataset]:
    """All measurements on the test images, in nats per datum, and those of every dimension."""
    images, prepare = digits.test.images, vae.observe
    terms = add_loss(evaluate_channels(vae, images), elbo)
    dimensions = per_dimension(vae.model, vae.guide, images, channels=CHANNELS, prepare=prepare)
    evidence = log_evidence(
        vae.model,
        vae.guide,
        images[: config.output.evidence_images],
        num_samples=config.output.evidence_samples,
        prepare=prepare,
    )
    metrics = {
        "units": "nats per datum",
        "test": terms,
        "per_dimension": as_lists(dimensions),
        "log_evidence": summary(evidence),
        "kl_estimators": elbo.kl_estimators,
    }
    return metrics, dimensions


def summary(evidence: LogEvidence) -> dict[str, float]:
    """The numbers of a log-evidence that a run keeps; the share of images that are unreliable."""
    return {
        "mean": evidence.mean,
        "standard_error": evidence.standard_error,
        "num_samples": evidence.num_samples,
        "num_images": len(evidence.per_datum),
        "effective_samples": float(evidence.effective_samples.median()),
        "unreliable": float(evidence.unreliable.double().mean()),
    }


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


def _report(config: Config, metrics: Mapping[str, Any], folder: Path) -> None:
    test, evidence = metrics["test"], metrics["log_evidence"]
    table = Table(title="On the test images, nats per image")
    table.add_column("")
    table.add_column("nats", justify="right")
    table.add_row("ELBO", f"{test['elbo']:.2f}")
    table.add_row(
        f"log-evidence ({evidence['num_samples']} samples, {evidence['num_images']} images)",
        f"{evidence['mean']:.2f} ± {evidence['standard_error']:.2f}",
    )
    if evidence["unreliable"] > 0:
        share = f"{100 * evidence['unreliable']:.0f} %"
        table.add_row("  of these with too few samples (Pareto k)", share)
    table.add_row("log-likelihood", f"{test['log_likelihood']:.2f}")
    for site in SITES:
        if f"kl/{site}" not in test:
            continue
        name = SITES[site]
        table.add_row(f"KL of the {name}", f"{test[f'kl/{site}']:.2f}")
        table.add_row(f"I({site}; x') bound, x' sampled", f"{test[f'mi/{site}/sample']:.2f}")
        table.add_row(f"I({site}; x') score, x' the mean", f"{test[f'mi/{site}/mean']:.2f}")
    console = Console()
    console.print(table)
    seconds = metrics["seconds"]
    console.print(
        f"trained with channel {config.objective.channel}, lambda {config.objective.mi_weight:g}; "
        f"{seconds['training']:.0f} s training, {seconds['total']:.0f} s in total"
    )
    print(f"run folder: {folder}")


if __name__ == "__main__":
    sys.exit(main())
