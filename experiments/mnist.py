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
from pathlib import Path

import torch
import xarray as xr
from lightning_fabric import Fabric
from pyro.infer import TraceEnum_ELBO

from experiments._config import STRUCTURES, Config, code_dim, parse_run, read_settings
from experiments._logging import errors_only
from experiments._metrics import evaluate_loss, measure, report
from pyro_mivae import groups, inference_data, parallel, plotting, runs, torchrun
from pyro_mivae.checkpoints import CheckpointError, has_checkpoint
from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import (
    Event,
    Interrupted,
    NonFiniteError,
    adam,
    evaluation,
    fit,
    make_fabric,
)
from pyro_mivae.vae import MIVAE


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
    prior, categories = STRUCTURES.get(config.model.prior, (config.model.prior, 0))
    vae = MIVAE(
        code_dim=code_dim(config.model),
        noise_dim=config.model.noise_dim,
        categories=categories,
        prior=prior,
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
        codes=vae.codes,
        code_scale=config.objective.code_scale,
        elbo=TraceEnum_ELBO(max_plate_nesting=1) if categories else None,
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
            terms = evaluate_loss(vae, elbo, digits.validation.images)
            del terms["elbo"]  # log_likelihood - kl, as in the rows of the training
            event.history.add(event.step, event.epoch, "validation", terms)
        if event.kind != "epoch":
            event.history.write_csv(folder / runs.HISTORY)

    fit(
        vae.model,
        vae.guide.enumerated() if "d" in vae.priors else vae.guide,
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
    metrics, dimensions = measure(config, vae, elbo, digits.test)
    metrics["seconds"] = {"training": trained, "total": time.monotonic() - started}
    _write_draws(config, vae, digits, dimensions, folder)
    plotting.redraw(folder)
    runs.write_json(folder / runs.METRICS, metrics)  # last: a run that has it is done
    report(config, metrics, folder)


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
