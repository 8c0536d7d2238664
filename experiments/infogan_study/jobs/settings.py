"""The settings of the study's programs: of the data, and of a cell with its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from experiments.command_line import Switch, check_folder
from experiments.infogan_study.design.cells import DataName, Prior, Term, Training
from pyro_mivae.checks import Check, check_count, check_seed, optional

STEPS: dict[Training, int] = {"gan": 7500, "vae": 2500}
"""Steps of a training."""
TRAVERSALS = "traversals.npz"
"""Images in a run's folder while one code moves."""


@dataclass(frozen=True)
class DataConfig:
    """The data of a run."""

    data: DataName = "D3"
    """Data set of the study: experiments/infogan_study/design/datasets.py."""
    pool: int = 50_000
    """Images of which each seed takes a part, the same for all cells."""
    test: int = 5_000
    """Images that generated ones are compared with."""
    reader_steps: int = 1_000
    """Training steps of the digit classifier."""
    digits: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """Digits that the images are made of: auto takes the full MNIST where it finds it."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*; the environment variable PYRO_MIVAE_DATA says it too."""
    cache_dir: Path | None = None
    """Folder in which drawn images and measurements are kept; by default ~/.cache/pyro_mivae."""
    out: Path | None = None
    """Folder of the results; by default runs/ and the name of the run."""
    smoke: Switch = False
    """A run of seconds: few images of mnist-5k, few steps."""


@dataclass(frozen=True)
class CellConfig(DataConfig):
    """A cell, a seed, and the training."""

    training: Training = "gan"
    """Adversarial (gan) or by the likelihood (vae)."""
    categories: Literal[0, 10] = 10
    """Categories of the discrete code; 0 for none."""
    prior: Prior = "uniform"
    """Prior of the two codes."""
    term: Term = "infogan"
    """Term on the codes: off, InfoGAN's form, or the bound with a learnt scale."""
    seed: int = 0
    """Seed of the images, the weights, the batches and all draws."""
    train: int = 10_000
    """Images to train on."""
    steps: int | None = None
    """Steps of the training; None is 7500 with the adversary, 2500 with the likelihood."""
    batch_size: int = 32
    """Images in a step."""
    draws: int = 5_000
    """Images that are made and measured."""
    checkpoint_every: int = 1_000
    """Steps between two checkpoints."""
    resume: Path | None = None
    """Go on with the run in this folder, with its settings."""


Settings = TypeVar("Settings", bound=DataConfig)

COUNTS = ("pool", "test", "reader_steps")
DATA_CHECKS: dict[str, Check] = {
    **dict.fromkeys(COUNTS, check_count),
    **dict.fromkeys(("data_dir", "cache_dir", "out"), check_folder),
}
"""What the settings of the data may be."""
CELL_CHECKS: dict[str, Check] = {
    **DATA_CHECKS,
    **dict.fromkeys(("train", "batch_size", "checkpoint_every"), check_count),
    "draws": partial(check_count, least=100),
    "steps": optional(check_count),
    "seed": check_seed,
    "resume": check_folder,
}
"""What the settings of a cell may be."""
SAME_NUMBERS = ("out", "data_dir", "cache_dir", "resume", "checkpoint_every")
"""Settings that do not change what a run gives."""


def settled(config: Settings) -> Settings:
    """Sets what depends on other settings, so that ``config.json`` says what ran."""
    if config.smoke:
        config = dataclasses.replace(config, pool=400, test=200, reader_steps=30, digits="mnist-5k")
    if not isinstance(config, CellConfig):
        return config
    steps = config.steps or (8 if config.smoke else STEPS[config.training])
    config = dataclasses.replace(config, steps=steps)
    return dataclasses.replace(config, train=200, draws=200) if config.smoke else config
