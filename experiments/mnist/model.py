"""Model and ELBO of a configuration of the main job, new or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO

from experiments.mnist.config import (
    STRUCTURES,
    Config,
    Data,
    Objective,
    code_dim,
    read_settings,
)
from pyro_mivae import runs
from pyro_mivae.datasets import Digits
from pyro_mivae.datasets.digits import DataName
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.schedule import Weight
from pyro_mivae.training.checkpoints import load_checkpoint
from pyro_mivae.training.matching import check_state
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
    seed = config.training.seed if config.training.init_seed is None else config.training.init_seed
    torch.manual_seed(seed)
    prior, categories = STRUCTURES.get(config.model.prior, (config.model.prior, 0))
    vae = MIVAE(
        code_dim=code_dim(config.model),
        noise_dim=config.model.noise_dim,
        categories=categories,
        prior=prior,
        posterior=config.model.posterior,
        noise_prior=config.model.noise_prior,
        likelihood=config.model.likelihood,
        encoder=config.model.networks,
        decoder=config.model.networks,
    )
    if config.model.init_gain != 1:
        with torch.no_grad():
            for name, parameter in vae.named_parameters():
                if name.endswith("weight"):
                    parameter.mul_(config.model.init_gain)
    elbo = TraceMI_ELBO(
        channel=config.objective.channel,
        mi_weight=_mi_weight(config.objective),
        kl_weight=config.objective.kl_weight,
        codes=vae.codes,
        code_scale=config.objective.code_scale,
        elbo=TraceEnum_ELBO(max_plate_nesting=1) if categories else None,
    )
    return vae, elbo


def _mi_weight(objective: Objective) -> Weight:
    """Returns lambda, or the schedule by which it grows."""
    weight, warmup = objective.mi_weight, objective.mi_warmup
    return (lambda step: weight * min(1.0, step / warmup)) if warmup else weight


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
