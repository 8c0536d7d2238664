"""Checkpoints that are atomic, rotate, and are loaded without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from pyro_mivae.runs.files import atomic_path

NAME = "checkpoint.ckpt"
PREVIOUS = "checkpoint-previous.ckpt"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model."""


def save_checkpoint(fabric: Fabric, folder: Path, state: dict[str, Any]) -> Path:
    """Writes ``folder/checkpoint.ckpt`` and keeps the one before as ``-previous``.

    At every moment at least one of the two is a whole checkpoint. Of several processes all
    call this, and rank 0 writes.

    Args:
        fabric: The Fabric that holds what `state` refers to.
        folder: An existing folder.
        state: Modules, optimisers and plain values, as for :meth:`Fabric.save`.
    """
    path = folder / NAME
    if not fabric.is_global_zero:
        fabric.barrier()  # that of rank 0's save
        return path
    with atomic_path(path) as temporary:
        fabric.save(temporary, state)
        if path.exists():
            path.replace(folder / PREVIOUS)
    return path


def has_checkpoint(folder: Path) -> bool:
    """Tells whether a training left a checkpoint in a folder."""
    return any((folder / name).exists() for name in (NAME, PREVIOUS))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Reads the newest checkpoint of a folder on the host, without executing anything in it.

    Raises:
        CheckpointError: If the folder has none, or the file is damaged or holds more than
            tensors and plain values.
    """
    for path in (folder / NAME, folder / PREVIOUS):
        if path.exists():
            break
    else:
        raise CheckpointError(f"no checkpoint in {folder}: expected {NAME}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        hint = f"; {PREVIOUS} beside it is older" if (folder / PREVIOUS).exists() else ""
        raise CheckpointError(f"{path} can't be read as a checkpoint ({error}){hint}") from error
    if not isinstance(state, dict):
        kind = type(state).__name__
        raise CheckpointError(f"{path} is no checkpoint: expected a dict, found {kind}")
    return state
