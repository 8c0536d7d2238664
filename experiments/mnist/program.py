"""The main experiment: a training, its measurements, draws and figures.

Its command line is in :mod:`experiments.mnist.config`.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import xarray as xr
from lightning_fabric import Fabric

from experiments.command_line import errors_only
from experiments.mnist.config import (
    Config,
    parse_run,
    read_settings,
)
from experiments.mnist.metrics import PARTS, evaluate_loss, measure, report
from experiments.mnist.model import build, check_same_data
from pyro_mivae import inference_data, plotting, runs
from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.progress import part
from pyro_mivae.runs import groups
from pyro_mivae.runs.lock import FolderInUseError
from pyro_mivae.training import (
    Event,
    Interrupted,
    NonFiniteError,
    adam,
    evaluation,
    fit,
    make_fabric,
    parallel,
    torchrun,
)
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint, load_checkpoint
from pyro_mivae.training.rebuilding import trained_guide
from pyro_mivae.vae import MIVAE


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pyro_mivae.datasets").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config, folder = parse_run(arguments)
        fabric = make_fabric(config.training.device, devices=config.training.devices)
        if not fabric.is_global_zero:
            logging.disable(logging.WARNING)
            # Waits for the first process, which finds what is wrong and makes the folder.
            parallel.launch(fabric)
        vae, elbo = build(config)
        digits = load_digits(_data(config, folder), data_dir=config.data.data_dir)
    except (ValueError, OSError, RuntimeError) as error:
        return _fail(error)
    with ExitStack() as stack:
        claim, resume = None, False
        try:
            if fabric.is_global_zero:
                folder, claim, resume = _claim(folder, config, digits, stack)
        except FileExistsError as error:
            return _fail(f"{error}. Choose another --out{_instead(folder)}")
        except (ValueError, OSError, RuntimeError) as error:
            return _fail(error)
        return _start(config, folder, vae, elbo, digits, fabric, claim, resume)


def _start(
    config: Config,
    folder: Path,
    vae: MIVAE,
    elbo: TraceMI_ELBO,
    digits: Digits,
    fabric: Fabric,
    claim: runs.Claim | None,
    resume: bool,
) -> int:
    """Runs in the folder that is claimed; returns the program's exit code."""
    # Only now: what failed so far has failed in one process.
    parallel.launch(fabric)
    folder, resume = fabric.broadcast((folder, resume))
    try:
        with errors_only("pyro_mivae.information"):
            run(config, folder, vae, elbo, digits, fabric=fabric, resume=resume, claim=claim)
    except (Interrupted, NonFiniteError, CheckpointError, FolderInUseError) as error:
        if not fabric.is_global_zero:
            return 0  # all processes stop alike, and the first one says it
        if not isinstance(error, Interrupted):
            return _fail(error)
        print(f"\n{error}; go on with\n  python -m experiments.mnist --resume {error.folder}")
        return 128 + error.signal
    return 0


def _data(config: Config, folder: Path) -> Literal["auto", "mnist", "mnist-5k"]:
    """The name of the data; a run that goes on has its own, whatever is found by now."""
    if config.output.resume is not None and config.data.data == "auto":
        before = runs.read_config(folder)["data"]["name"]
        return "mnist-5k" if before == "mnist-5k" else "mnist"
    return config.data.data


def _instead(folder: Path) -> str:
    """What else can be done with a folder that exists."""
    if not runs.is_run(folder):
        return ", or delete it by hand"
    return f", go on with --resume {folder}, or replace it with --overwrite"


def _fail(error: Exception | str) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


def _claim(
    folder: Path, config: Config, digits: Digits, stack: ExitStack
) -> tuple[Path, runs.Claim | None, bool]:
    """Makes the run's folder, or checks the one to go on with, and writes the settings.

    The stack holds its lock. Returns the folder, the claim on a new one, and whether the training
    goes on from a checkpoint.
    """
    data = {
        "name": digits.name,
        "checksum": digits.checksum,
        "source": digits.source,
        "train": len(digits.train),
        "validation": len(digits.validation),
        "test": len(digits.test),
    }
    output = config.output
    restart = output.resume is None and _restarted(folder, config)
    claim, resume = None, has_checkpoint(folder) if restart else output.resume is not None
    if output.resume is None and not restart:
        folder = folder if output.out is not None else runs.new_folder(folder)
        claim = stack.enter_context(runs.claimed(folder, overwrite=output.overwrite))
    else:
        stack.enter_context(runs.resumed(folder))
        check_same_data(folder, digits)
    if resume and (done := load_checkpoint(folder)["step"]) > config.training.steps:
        raise ValueError(
            f"--steps {config.training.steps} are fewer than the {done} that the run in {folder} "
            f"has done: say at least --steps {done}"
        )
    runs.write_config(folder, dataclasses.asdict(config), data, torchrun.job())
    return folder, claim, resume


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


def run(
    config: Config,
    folder: Path,
    vae: MIVAE,
    elbo: TraceMI_ELBO,
    digits: Digits,
    *,
    fabric: Fabric,
    resume: bool,
    claim: runs.Claim | None = None,
) -> None:
    """Trains a VAE; the first of several processes measures it, and draws into `folder`."""
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
            if claim is not None and has_checkpoint(folder):
                claim.settle()

    with part(1, PARTS):
        fit(
            vae.model,
            trained_guide(vae),
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
