"""Checkpoints that are atomic, checked, rotate, and are loaded without executing anything."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pyro_mivae.runs.files import atomic_path

logger = logging.getLogger(__name__)

NAME = "checkpoint.ckpt"
PREVIOUS = "checkpoint-previous.ckpt"
DAMAGED = "checkpoint-damaged.ckpt"
ENTRIES = ("objective", "stored", "optimizer", "elbo", "random", "step", "history", "pending")
"""What each checkpoint holds; newer ones have a ``record``, too."""

# The checksum is the comment of the zip archive that torch writes, which torch skips.
_MARK = b"pyro_mivae sha256 "
_COMMENT = len(_MARK) + 64


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model or training."""


def save_checkpoint(fabric: Fabric, folder: Path, state: dict[str, Any]) -> Path:
    """Writes ``folder/checkpoint.ckpt`` and keeps the one before as ``-previous``.

    At every moment at least one of the two is a whole checkpoint. Of several processes all
    call this, and rank 0 writes.

    Args:
        fabric: Fabric of the training.
        folder: Existing folder.
        state: Tensors and plain values, in dicts and lists; those of NumPy become Python's.
    """
    path = folder / NAME
    state = whole(plain(state, strict=False))
    try:
        if fabric.is_global_zero:
            # Not by Fabric.save, which writes to the temporary folder first.
            with atomic_path(path) as temporary:
                _write(state, temporary)
                if path.exists():
                    path.replace(folder / PREVIOUS)
    finally:
        fabric.barrier()
    return path


def plain(state: Any, strict: bool = True) -> Any:
    """Makes plain values of NumPy's, with which a checkpoint could not be read again.

    Args:
        state: Tensors and plain values, in dicts and lists.
        strict: Whether to raise a ``TypeError`` for what is neither; else it is left as it is.
    """
    if isinstance(state, np.generic):
        return state.item()
    if isinstance(state, Counter):
        return Counter({plain(name, strict): value for name, value in state.items()})
    if type(state) is dict:
        return {plain(name, strict): plain(value, strict) for name, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(plain(value, strict) for value in state)
    if strict and not isinstance(state, Tensor | str | int | float | None):
        raise TypeError(type(state).__name__)
    return state


def whole(state: Any) -> Any:
    """Copies tensors that are parts of larger ones, which torch would write as a whole."""
    if isinstance(state, Tensor):
        part = state.untyped_storage().nbytes() > state.numel() * state.element_size()
        return state.clone() if part else state
    if isinstance(state, dict):
        parts = copy.copy(state)  # with the metadata of a module's state
        for name, value in state.items():
            parts[name] = whole(value)
        return parts
    if type(state) in (list, tuple):
        return type(state)(whole(value) for value in state)
    return state


def has_checkpoint(folder: Path) -> bool:
    """Tells whether a training left a checkpoint in a folder."""
    return any((folder / name).exists() for name in (NAME, PREVIOUS))


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Reads the newest good checkpoint of a folder on the host, without executing anything in it.

    A warning says so where that is the previous one, as the last one is damaged or missing.

    Raises:
        CheckpointError: If the folder has none, or all are damaged, incomplete, or hold more
            than tensors and plain values.
    """
    reasons = []
    for path in (folder / NAME, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = _read(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        if path.name == PREVIOUS:
            reason = reasons[0] if reasons else f"{folder / NAME} is missing"
            logger.warning(
                "%s: the previous checkpoint %s, of step %s, is taken",
                *(reason, path, state["step"]),
            )
        return state
    if not reasons:
        raise CheckpointError(f"no checkpoint in {folder}: expected {NAME}")
    raise CheckpointError(
        f"{'; '.join(reasons)}. No good checkpoint is left in {folder}: copy one back from a "
        "backup, or train anew in another folder"
    )


def load_step(folder: Path, step: int) -> dict[str, Any] | None:
    """Reads the checkpoint of a step, the last or the previous one; None if no good one has it."""
    for path in (folder / NAME, folder / PREVIOUS):
        try:
            state = _read(path) if path.exists() else {}
        except CheckpointError:
            continue
        if state.get("step") == step:
            return state
    return None


def set_damaged_aside(folder: Path) -> None:
    """Renames a last checkpoint that can't be read, so that the good previous one is kept.

    The next :func:`save_checkpoint` would put it in the place of the good one.
    """
    path = folder / NAME
    if path.exists() and (folder / PREVIOUS).exists():
        try:
            _read(path)
        except CheckpointError:
            path.replace(folder / DAMAGED)


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_bytes(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} can't be read as a checkpoint ({first})") from error
    if not isinstance(state, dict):
        kind = type(state).__name__
        raise CheckpointError(f"{path} is no checkpoint: expected a dict, found {kind}")
    if missing := [name for name in ENTRIES if name not in state]:
        names = [str(name) for name in state]
        raise CheckpointError(
            f"{path} is no checkpoint of fit: expected the entries {', '.join(ENTRIES)}, found "
            f"{', '.join(names[:8]) or 'none'}{' ...' if names[8:] else ''}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    return state


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # What torch makes of a full disk: something about a position.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    _add_checksum(path)


def _add_checksum(path: Path) -> None:
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(-2, os.SEEK_END)  # the length of the comment, 0 so far
        file.write(_COMMENT.to_bytes(2, "little") + _MARK + digest.encode())


def _check_bytes(path: Path) -> None:
    """Raises a ``ValueError`` if the file is not, to the bit, what was written.

    Files without a checksum, of earlier versions, have those of the zip archive's members.
    """
    size = path.stat().st_size - _COMMENT
    with path.open("rb") as file:
        file.seek(max(size, 0))
        comment = file.read()
        if size > 2 and comment.startswith(_MARK):
            file.seek(0)
            digest = hashlib.sha256()
            left = size - 2
            while left and (part := file.read(min(left, 1 << 20))):
                digest.update(part)
                left -= len(part)
            ok = file.read(2) == _COMMENT.to_bytes(2, "little")
            digest.update(b"\0\0")
            if not ok or digest.hexdigest().encode() != comment[len(_MARK) :]:
                raise ValueError("its checksum differs: the file was damaged or edited")
            return
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of torch, or its end is missing")
    with zipfile.ZipFile(path) as archive:
        if archive.comment:
            raise ValueError("its checksum can't be read: the file was damaged or edited")
        if member := archive.testzip():
            raise ValueError(f"the checksum of its member {member} differs")
