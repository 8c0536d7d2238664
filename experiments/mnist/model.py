"""Model and ELBO of a configuration of the main job, new or trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from experiments.mnist.config import Config, read_settings
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training.checkpoints import load_checkpoint
from pyro_mivae.training.matching import check_state
from pyro_mivae.training.rebuilding import build_pair
from pyro_mivae.vae import MIVAE


def load(folder: Path, device: torch.device) -> MIVAE:
    """Loads the trained model of a run's folder."""
    vae, _ = build(read_settings(folder))
    state = load_checkpoint(folder)["objective"]
    check_state("the VAE", state, vae.state_dict())
    vae.load_state_dict(state)
    return vae.to(device)


def build(config: Config) -> tuple[MIVAE, TraceMI_ELBO]:
    """Builds the model, with the weights of its seed, and the ELBO of a configuration."""
    return build_pair(dataclasses.asdict(config))
