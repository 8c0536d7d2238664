"""Train InfoGAN on MNIST digits and measure what its codes tell of the images.

Leaves a folder with the settings, the training's history, a checkpoint, measurements of
the generated images, draws that ArviZ reads, and figures.

    python -m experiments.infogan
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from experiments.command_line import Switch, check_folder, plain
from experiments.generator.config import CHECK_DRAWS, DRAWS
from experiments.mnist.config import NOT_NEGATIVE, POSITIVE, Data, Prior
from experiments.run_settings import RunSettings
from pyro_mivae.checks import (
    Check,
    check_count,
    check_seed,
    optional,
)


@dataclass(frozen=True)
class Model:
    """The model p(c) p(d) p(z) p(x|c, d, z), a guide of its codes, and a discriminator."""

    prior: Prior = "uniform"
    """Prior of the continuous codes c; uniform is on (-1, 1)."""
    code_dim: int = 2
    """Number of continuous codes."""
    categories: int = 10
    """Number of categories of the code d; 0 for none."""
    noise_prior: Prior = "gaussian"
    """Prior of the noise z."""
    noise_dim: int | None = None
    """Dimensions of the noise; None is 4, with the paper's networks 62."""
    networks: Literal["small", "paper"] = "small"
    """Sizes of the networks; paper is InfoGAN's own, for a GPU."""
    shared_trunk: bool = True
    """Let the guide share the convolutions of the discriminator, as in InfoGAN."""


@dataclass(frozen=True)
class Objective:
    """The losses: those of the adversary, each less the weighted information of the codes."""

    code_scale: float | None = 1.0
    """Score continuous codes by normals of this standard deviation (1 is InfoGAN's form); None
    lets the guide learn its scale, which makes a lower bound of the term."""
    mi_weight: float | None = None
    """lambda of the continuous codes; None is 1, or 0.1 with a learnt scale."""
    category_weight: float = 1.0
    """lambda of the category."""
    adversary: Literal["non-saturating", "hinge", "wasserstein"] = "non-saturating"
    """Losses of generator and discriminator."""


@dataclass(frozen=True)
class Training:
    """The optimisation."""

    steps: int | None = None
    """Steps of both players; None is 2500, with the paper's networks 5000."""
    batch_size: int | None = None
    """Images in a step; None is 32, with the paper's networks 128."""
    learning_rate: float = 1e-3
    """Learning rate of the generator's Adam."""
    reader_learning_rate: float | None = None
    """Learning rate of discriminator and guide; None is 5e-4, with the paper's networks 2e-4."""
    discriminator_steps: int = 1
    """Steps of the discriminator to each step of the generator."""
    seed: int = 0
    """Seed of the initial weights, the order of the images and all draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""


@dataclass(frozen=True)
class Output:
    """The folder of the run, and its measurements."""

    out: Path | None = None
    """Folder of the run; by default runs/infogan-PRIOR-LAMBDA-SEED-TIME."""
    overwrite: Switch = False
    """Replace the run that is in --out, once the new one has started well."""
    resume: Path | None = None
    """Go on with the run in this folder, with its settings (--steps may be raised)."""
    draws: int = DRAWS
    """Images that are made and measured."""
    smoke: Switch = False
    """A run of seconds that goes through everything: 30 steps on mnist-5k."""


@dataclass(frozen=True)
class Config:
    """All settings, in groups."""

    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=Objective)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)


CHECKS: dict[str, dict[str, Check]] = {
    "model": {
        "code_dim": check_count,
        "categories": partial(check_count, least=0),
        "noise_dim": optional(check_count),
    },
    "objective": {
        "code_scale": optional(POSITIVE),
        "mi_weight": optional(NOT_NEGATIVE),
        "category_weight": NOT_NEGATIVE,
    },
    "data": {"data_dir": check_folder},
    "training": {
        **dict.fromkeys(("steps", "batch_size"), optional(check_count)),
        **dict.fromkeys(("discriminator_steps", "checkpoint_every"), check_count),
        "learning_rate": POSITIVE,
        "reader_learning_rate": optional(POSITIVE),
        "seed": check_seed,
    },
    "output": {"out": check_folder, "draws": CHECK_DRAWS},
}
"""What each setting may be beside its type, by group."""


def settled(config: Config) -> Config:
    """Sets what depends on other settings, so that ``config.json`` says what ran."""
    paper = config.model.networks == "paper"
    model, objective, training = config.model, config.objective, config.training
    if model.noise_dim is None:
        model = dataclasses.replace(model, noise_dim=62 if paper else 4)
    if objective.mi_weight is None:
        weight = 0.1 if objective.code_scale is None else 1.0
        objective = dataclasses.replace(objective, mi_weight=weight)
    steps = 30 if config.output.smoke else 5000 if paper else 2500
    training = dataclasses.replace(
        training,
        steps=training.steps or steps,
        batch_size=training.batch_size or (128 if paper else 32),
        reader_learning_rate=training.reader_learning_rate or (2e-4 if paper else 5e-4),
    )
    config = dataclasses.replace(config, model=model, objective=objective, training=training)
    if not config.output.smoke:
        return config
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data="mnist-5k"),
        output=dataclasses.replace(config.output, draws=min(200, config.output.draws)),
    )


def _name_of(config: Config) -> str:
    return f"{config.model.prior}-{plain(config.objective.mi_weight)}-{config.training.seed}"


SETTINGS = RunSettings("infogan", Config(), __doc__, CHECKS, settled, _name_of)
parse, parse_run, read_settings = SETTINGS.parse, SETTINGS.parse_run, SETTINGS.read
