"""What a checkpoint notes of its training, so that none goes on with other data or settings."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from pyro_mivae.batches import Batches
from pyro_mivae.runs.flock import owner_words, this_process
from pyro_mivae.training.checkpoints import CheckpointError

logger = logging.getLogger(__name__)

SAMPLE = 1 << 16
"""Numbers of a tensor that its checksum is of, where it has more."""
MACHINE = {
    "threads": "{} threads",
    "device": "device '{}'",
    "precision": "precision '{}'",
}
"""What decides the last bits of the numbers, and its words."""
# How an optimiser computes, not what.
_NOT_COMPARED = ("params", "foreach", "fused", "capturable", "differentiable")


def make_record(batches: Batches, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Notes data, order, optimiser and process of a training.

    Args:
        batches: Data of the training.
        optimizer: Optimiser as it was made, before any state is loaded.
    """
    return {
        "data": len(batches.tensors[0]),
        "checksum": checksum(batches.tensors),
        "batch_size": batches.batch_size,
        "steps_per_epoch": batches.steps_per_epoch,
        "seed": batches.seed,
        "optimizer": type(optimizer).__name__,
        "settings": [_settings(group) for group in optimizer.param_groups],
        "threads": torch.get_num_threads(),
        "owner": this_process(),
    }


def note_machine(record: dict[str, Any], fabric: Fabric) -> None:
    """Adds to a record what decides the last bits of the numbers."""
    record["device"] = fabric.device.type
    record["precision"] = str(fabric.strategy.precision.precision)


def check_same_training(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raises a :class:`CheckpointError` if a resumed training would be another one.

    What changes bits only, as another number of threads, is said by a warning.
    """
    differences = _different_data(saved, current)
    for name in ("batch_size", "steps_per_epoch", "seed", "optimizer"):
        if name in saved and saved[name] != current[name]:
            differences.append(f"{name}: {saved[name]} there, {current[name]} now")
    if saved.get("optimizer") == current["optimizer"]:
        for old, new in zip(saved["settings"], current["settings"], strict=False):
            differences += [
                f"{'learning rate' if key == 'lr' else key} of {current['optimizer']}: "
                f"{old[key]} there, {new[key]} now"
                for key in old
                if key in new and old[key] != new[key]
            ]
    if differences:
        raise CheckpointError(
            f"the checkpoint is of another training: {'; '.join(differences)}. Go on with the data "
            "and settings of the checkpoint, or train anew in another folder"
        )
    for name, words in MACHINE.items():
        if saved.get(name, current.get(name)) != current.get(name):
            logger.warning(
                "the checkpoint is of %s, this training of %s: the numbers agree to rounding, not "
                "to the bit",
                *(words.format(record[name]) for record in (saved, current)),
            )


def check_same_data(saved: Mapping[str, Any], current: Mapping[str, Any], folder: object) -> None:
    """Raises a :class:`CheckpointError` if a folder holds checkpoints on other data."""
    if differences := _different_data(saved, current):
        raise CheckpointError(
            f"{folder} holds the checkpoints of another run ({whose(saved)}) on other data: "
            f"{'; '.join(differences)}. Train in another folder, or delete them first"
        )


def whose(record: Mapping[str, Any]) -> str:
    """Names the owner that a record notes."""
    owner = record.get("owner")
    return owner_words(owner) if isinstance(owner, dict) else "of an earlier version"


def checksum(tensors: Sequence[Tensor]) -> str:
    """Returns a checksum of shapes, types and numbers; of large tensors a sample is taken."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        if len(flat) > SAMPLE:
            generator = torch.Generator().manual_seed(0)
            index = torch.randint(len(flat), (SAMPLE,), generator=generator)
            flat = flat[index.to(flat.device)]
        digest.update(flat.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _different_data(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    if "data" in saved and saved["data"] != current["data"]:
        return [f"{saved['data']} data there, {current['data']} now"]
    if "checksum" in saved and saved["checksum"] != current["checksum"]:
        pair = (str(record["checksum"])[:12] for record in (saved, current))
        return ["checksum of the data: {} there, {} now".format(*pair)]
    return []


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group of parameters that are plain values."""
    settings = {}
    for name, value in group.items():
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, tuple):
            value = [v.item() if isinstance(v, Tensor) else v for v in value]
        plain = isinstance(value, (Number, str, list)) or value is None
        finite = not isinstance(value, float) or not math.isnan(value)
        if name not in _NOT_COMPARED and plain and finite:
            settings[str(name)] = value
    return settings
