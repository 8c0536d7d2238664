"""Whether a checkpoint and a training belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyro_mivae.training.checkpoints import CheckpointError

MODEL = "model"
_OBJECTIVES = {1: "an ELBO, with one player", 2: "TraceMI_GAN, with two players"}
SHOWN = 4
"""Differences that an error lists."""


def check_state(place: str, saved: Any, current: Mapping[str, Any]) -> None:
    """Raises a :class:`CheckpointError` unless names and shapes of two states are the same.

    Args:
        place: Owner of the parameters, for the error.
        saved: State from the checkpoint.
        current: State of the training.
    """
    if not isinstance(saved, Mapping):
        raise CheckpointError(
            f"the checkpoint is damaged: expected the parameters of {place} by name, found "
            f"{type(saved).__name__}"
        )
    names = list(dict.fromkeys([*current, *saved]))
    shapes = [(n, _shape(current, n), _shape(saved, n)) for n in names]
    differences = [
        f"{name!r}: expected {here}, found {before}"
        for name, here, before in shapes
        if here != before
    ]
    if differences:
        more = len(differences) - SHOWN
        listed = "; ".join(differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise CheckpointError(
            f"the checkpoint is of another model or guide. In {place}, {listed}. Build the pair as "
            "in the run that wrote it, or train in another folder"
        )


def check_players(state: Mapping[str, Any], players: list[str]) -> None:
    """Raises a :class:`CheckpointError` unless a checkpoint is of a training of these players."""
    saved = state.get("players", [MODEL])
    if saved != players:
        here, before = (_OBJECTIVES.get(len(p), f"players {p}") for p in (players, saved))
        raise CheckpointError(
            f"the checkpoint is of another objective: expected one of {here}, found one of "
            f"{before}. Train with the objective of the checkpoint, or in another folder"
        )


def by_player(state: Mapping[str, Any], entry: str) -> dict[str, Any]:
    """Returns an entry of a checkpoint by player; earlier ones had one player and no name for it.

    Args:
        state: Checkpoint.
        entry: ``"optimizer"`` or ``"schedule"``.
    """
    value = state.get(entry, {})
    if "players" not in state:
        return {MODEL: value}
    return dict(value) if isinstance(value, Mapping) else {}


def check_optimizer(saved: Any, current: Mapping[str, Any]) -> None:
    """Raises a :class:`CheckpointError` unless two states are of one kind of optimiser."""
    words = "the checkpoint is of another optimiser"
    groups = saved.get("param_groups") if isinstance(saved, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(g, Mapping) for g in groups):
        raise CheckpointError(f"{words}: expected groups of parameters, found none")
    sizes, before = _sizes(current["param_groups"]), _sizes(groups)
    if sizes != before:
        raise CheckpointError(
            f"{words}: expected groups of {sizes} parameters, found groups of {before}"
        )
    for group, other in zip(current["param_groups"], groups, strict=True):
        # Another version of torch may have one setting more; another optimiser has other ones.
        new, old = sorted(set(group) - set(other)), sorted(set(other) - set(group))
        if new and old:
            raise CheckpointError(f"{words}: expected the settings {new}, found {old}")


def _shape(state: Mapping[str, Any], name: str) -> str:
    if name not in state:
        return "none"
    value = state[name]
    return (
        f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
    )


def _sizes(groups: list[Any]) -> list[int]:
    return [len(group.get("params", ())) for group in groups]
