"""InfoGAN: a training, the information of its codes about the images, draws and figures.

Its command line is in :mod:`experiments.infogan.config`.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from functools import partial

import torch
from lightning_fabric import Fabric

from experiments.command_line import as_arguments, command, console, say
from experiments.generator.measurements import FIRST_SEED, doubt, measure, read_real, table
from experiments.infogan import figures
from experiments.infogan.config import SETTINGS, Config, parse_run, read_settings
from experiments.infogan.draws import draw
from experiments.infogan.measurements import metrics_of, sentences
from experiments.one_run import Place, start_run
from pyro_mivae import runs
from pyro_mivae.datasets import Digits
from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.progress import part
from pyro_mivae.runs import groups
from pyro_mivae.training import Event, fit
from pyro_mivae.training.rebuilding import build_infogan

PARTS = 2
"""Parts of a run: the training and the measurements."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    return start_run("infogan", arguments, parse_run, read_settings, build, run)


def build(config: Config) -> tuple[InfoGAN, TraceMI_GAN]:
    """Builds InfoGAN, with the weights of its seed, and the objective of a configuration."""
    return build_infogan(dataclasses.asdict(config))


def run(
    config: Config, place: Place, pair: tuple[InfoGAN, TraceMI_GAN], digits: Digits, fabric: Fabric
) -> None:
    """Trains InfoGAN, measures its images, and draws into the run's folder."""
    started = time.monotonic() - place.seconds
    training, folder = config.training, place.folder
    gan, elbo = pair

    def record(event: Event) -> None:
        if event.kind != "epoch":
            event.history.write_csv(folder / runs.HISTORY)
            place.settle()

    rates = {"model": training.learning_rate, "reader": training.reader_learning_rate or 0.0}
    with part(1, PARTS):
        fit(
            gan.model,
            gan.guide,
            elbo,
            digits.to(fabric.device).train.images,
            steps=training.steps or 0,
            batch_size=training.batch_size,
            drop_last=True,
            prepare=gan.observe,
            optimizer={
                player: partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999), fused=True)
                for player, rate in rates.items()
            },
            discriminator_steps=training.discriminator_steps,
            seed=training.seed,
            device=training.device,
            log_every=min(50, training.steps or 50),
            callbacks=[record],
            folder=folder,
            checkpoint_every=training.checkpoint_every,
            resume=place.resume,
        )
    trained = time.monotonic() - started
    with part(2, PARTS):
        reader = read_real(digits)
        result = measure(
            gan,
            digits.to(fabric.device).test.images,
            gan.observe,
            reader,
            draws=config.output.draws,
            seed=FIRST_SEED + training.seed,
        )
    metrics = metrics_of(result, gan, elbo, digits.to(fabric.device))
    if warning := doubt(metrics["generator"]):
        metrics["warning"] = warning
    metrics["step"] = training.steps
    metrics["seconds"] = {"training": trained, "total": time.monotonic() - started}
    attrs = {"data": digits.name, "networks": config.model.networks, "seed": training.seed}
    groups.write(draw(gan, reader, result, attrs), folder / groups.FILE)
    figures.redraw(folder)
    runs.write_json(folder / runs.METRICS, metrics)  # last: a run that has it is done
    if metrics["information"]:
        console().print(table(metrics["information"], "Information in the generated images, nats"))
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    else:
        say(sentences(metrics))
    print(f"figures, draws and numbers after {metrics['seconds']['total']:.0f} s: {folder}")
    again = [*SETTINGS.flags(config), *as_arguments({"seed": training.seed + 1})]
    print(f"next: another seed, as one run of a GAN shows little\n  {command('infogan', again)}")


if __name__ == "__main__":
    sys.exit(main())
