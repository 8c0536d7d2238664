"""Model and ELBO of a configuration of the main job, new or trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from experiments.mnist.config import Config, read_settings
from pyro_mivae import runs
from pyro_mivae.datasets import Digits
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training.checkpoints import load_checkpoint
from pyro_mivae.training.rebuilding import build_pair
from pyro_mivae.vae import MIVAE


def load(folder: Path, device: torch.device) -> MIVAE:
    """Loads the trained model of a run's folder."""
    vae, _ = build(read_settings(folder))
    vae.load_state_dict(load_checkpoint(folder)["objective"])
    return vae.to(device)


def build(config: Config) -> tuple[MIVAE, TraceMI_ELBO]:
    """Builds the model, with the weights of its seed, and the ELBO of a configuration."""
    return build_pair(dataclasses.asdict(config))


def check_same_data(folder: Path, digits: Digits) -> None:
    """Raises a ``ValueError`` unless the run in `folder` was on these data."""
    before = runs.read_config(folder)["data"]
    if before["checksum"] != digits.checksum:
        raise ValueError(
            f"the run in {folder} was on {before['name']} ({before['checksum'][:12]}), but the "
            f"data found now are {digits.name} ({digits.checksum[:12]}): say --data-dir"
        )
