"""What a checkpoint notes of its training, so that none goes on with other data or settings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from pyro_mivae.batches import BatchSource
from pyro_mivae.runs.flock import owner_words, this_process
from pyro_mivae.training.averaging import WeightAverage
from pyro_mivae.training.checkpoints import CheckpointError
from pyro_mivae.training.games import Game
from pyro_mivae.training.objective_settings import objective_settings
from pyro_mivae.training.players import Player

logger = logging.getLogger(__name__)

MACHINE = {
    "threads": "{} threads",
    "device": "device '{}'",
    "precision": "precision '{}'",
    "steps": "{} steps",
}
"""What decides the last bits of the numbers, and its words."""
# How an optimiser computes, not what.
_NOT_COMPARED = ("params", "foreach", "fused", "capturable", "differentiable")
# Name in the record, words for it, and its value in records that do not have it.
_LATER = (("batches_per_step", "discriminator_steps", 1), ("average", "average", None))


def make_record(
    batches: BatchSource, game: Game, players: Sequence[Player], average: WeightAverage | None
) -> dict[str, Any]:
    """Notes data, order, optimisers and process of a training.

    Args:
        batches: Data of the training.
        game: The game of the training.
        players: The players with optimisers and schedules as they were made, before any state is
            loaded.
        average: The moving average of the weights, or None.
    """
    checksums = batches.checksums()  # first: it finds what can't be repeated
    steps = batches.steps_per_epoch
    return {
        "kind": batches.kind,
        "data": batches.length,
        **checksums,
        "unrepeatable": batches.unrepeatable,
        "order": batches.order,
        "batch_size": batches.batch_size,
        **({} if steps is None else {"steps_per_epoch": steps}),
        "seed": batches.seed,
        "batches_per_step": game.batches_per_step,
        "objective": objective_settings(game.elbo),
        "average": None if average is None else average.decay,
        "players": {player.name: _of_player(player) for player in players},
        "threads": torch.get_num_threads(),
        "owner": this_process(),
        **game.note(),
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
    for name in ("batch_size", "order", "steps_per_epoch", "seed"):
        if _differ(saved, current, name):
            differences.append(f"{name}: {saved[name]} there, {current[name]} now")
    for name, words, before in _LATER:
        if saved.get(name, before) != current[name]:
            differences.append(f"{words}: {saved.get(name, before)} there, {current[name]} now")
    differences += _different_settings(saved.get("objective", {}), current["objective"], "the loss")
    before = saved.get("players", {"model": saved})  # earlier ones note the one player's settings
    for name, player in current["players"].items():
        whose = "" if len(current["players"]) == 1 else f"the {name}'s "
        differences += _different_player(before.get(name, {}), player, whose)
    if differences:
        raise CheckpointError(
            f"the checkpoint is of another training: {'; '.join(differences)}. Go on with the data "
            "and settings of the checkpoint, or train anew in another folder"
        )
    if _differ(saved, current, "first_batch"):
        logger.warning(
            "the first batch is another one than in the checkpoint's training: either the data are "
            "others, or a random state that fit can't seed has changed them. The training goes on"
        )
    if current["unrepeatable"]:
        logger.warning(
            "the training goes on, but %s: it is to the bit the one without the stop only if the "
            "same batches come again",
            current["unrepeatable"],
        )
    for name, words in MACHINE.items():
        if _differ(saved, current, name):
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


def _different_data(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    if saved.get("kind", "tensors") != current["kind"]:
        return [f"data: {saved.get('kind', 'tensors')} there, {current['kind']} now"]
    if "data" in saved and saved["data"] != current["data"]:
        return [f"{saved['data']} data there, {current['data']} now"]
    if _differ(saved, current, "checksum"):
        pair = (str(record["checksum"])[:12] for record in (saved, current))
        return ["checksum of the data: {} there, {} now".format(*pair)]
    return []


def _differ(saved: Mapping[str, Any], current: Mapping[str, Any], name: str) -> bool:
    """Whether an entry is noted of both trainings and not the same."""
    return name in saved and name in current and saved[name] != current[name]


def _of_player(player: Player) -> dict[str, Any]:
    """What is noted of a player: the settings of optimiser and schedule."""
    optimizer = player.rates.optimizer
    return {
        "optimizer": type(optimizer).__name__,
        "settings": [_settings(group) for group in optimizer.param_groups],
        "scheduler": player.rates.name,
        "schedule": player.rates.state_dict(),
    }


def _different_player(
    saved: Mapping[str, Any], current: Mapping[str, Any], whose: str
) -> list[str]:
    """Differences of a player's optimiser and schedule, after words that name the player."""
    differences = []
    if "optimizer" in saved and saved["optimizer"] != current["optimizer"]:
        before, now = saved["optimizer"], current["optimizer"]
        differences.append(f"{whose}optimizer: {before} there, {now} now")
    if saved.get("optimizer") == current["optimizer"]:
        for old, new in zip(saved["settings"], current["settings"], strict=False):
            differences += _different_settings(old, new, whose + current["optimizer"])
    if saved.get("scheduler") != current["scheduler"]:
        before, now = saved.get("scheduler"), current["scheduler"]
        return [*differences, f"{whose}lr_scheduler: {before} there, {now} now"]
    schedules = flat(saved.get("schedule", {})), flat(current["schedule"])
    return differences + _different_settings(*schedules, f"{whose}{current['scheduler']}")


def _different_settings(saved: Mapping[str, Any], current: Mapping[str, Any], of: str) -> list[str]:
    return [
        f"{'learning rate' if key == 'lr' else key} of {of}: {saved[key]} there, {current[key]} now"
        for key in saved
        if key in current and saved[key] != current[key]
    ]


def flat(state: Any, name: str = "") -> dict[str, Any]:
    """Lists the values of nested dicts and lists by dotted names."""
    if isinstance(state, Mapping):
        items = list(state.items())
    elif isinstance(state, list | tuple):
        items = list(enumerate(state))
    else:
        return {name: state}
    return {
        key: value
        for place, part in items
        for key, value in flat(part, f"{name}.{place}" if name else str(place)).items()
    }


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
