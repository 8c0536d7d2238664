"""Model and ELBO of a configuration of the main job, new or trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from experiments.mnist.config import Config, Data, read_settings
from pyro_mivae import runs
from pyro_mivae.datasets import Digits
from pyro_mivae.datasets.digits import DataName
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


def data_of(folder: Path, settings: Data) -> DataName:
    """Names the data that the run in a folder was on, whatever "auto" finds by now.

    Raises:
        ValueError: If the folder's ``config.json`` names no data.
    """
    if settings.data != "auto":
        return settings.data
    before = _data_before(folder)["name"]
    return "mnist-5k" if before == "mnist-5k" else "mnist"


def build(config: Config) -> tuple[MIVAE, TraceMI_ELBO]:
    """Builds the model, with the weights of its seed, and the ELBO of a configuration."""
    return build_pair(dataclasses.asdict(config))


def check_same_data(folder: Path, digits: Digits) -> None:
    """Raises a ``ValueError`` unless the run in `folder` was on these data."""
    before = _data_before(folder)
    if before["checksum"] != digits.checksum:
        raise ValueError(
            f"the run in {folder} was on {before['name']} ({before['checksum'][:12]}), but the "
            f"data found now are {digits.name} ({digits.checksum[:12]}): say --data-dir"
        )


def _data_before(folder: Path) -> dict[str, Any]:
    before: dict[str, Any] = runs.read_config(folder)["data"]
    for name in ("name", "checksum"):
        if not isinstance(before.get(name), str):
            raise ValueError(
                f"{folder / runs.CONFIG} has no {name!r} of the data: it was edited. Copy it back "
                "from a backup, or train anew in another folder"
            )
    return before
