"""The moving average of the weights of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pyro_mivae.isolation import modules_of
from pyro_mivae.training.objective import Objective
from pyro_mivae.training.players import Player


@dataclass
class WeightAverage:
    """The moving average of a player's parameters and of its modules' buffers.

    After the first step it is a copy of both, and after each later step
    ``average = decay * average + (1 - decay) * weights``. Buffers that are no floating-point
    numbers, as counters, are copied.

    Attributes:
        decay: Share of the average that a step keeps, in [0, 1).
        tables: The table that holds each tensor, a module's or that of Pyro's store, and its name
            there; by the name in a checkpoint.
        values: The averages, by the name in a checkpoint.
        count: Steps averaged over.
    """

    decay: float
    tables: dict[str, tuple[Any, str]]
    values: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after a step into the average."""
        weights = self._weights()
        if not self.count:
            self.values = {name: tensor.clone() for name, tensor in weights.items()}
        floating = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        if self.count and floating:
            lerp = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
            lerp([self.values[n] for n in floating], [weights[n] for n in floating], None)
        for name in weights.keys() - set(floating):
            self.values[name].copy_(weights[name])
        self.count += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Runs a block in which the modules have the averages."""
        before = {name: tensor.clone() for name, tensor in self._weights().items()}
        self.apply()
        try:
            yield
        finally:
            self._write(before)

    def apply(self) -> None:
        """Writes the averages into the modules."""
        self._write(self.values)

    def state_dict(self) -> dict[str, Any]:
        """Returns the averages, by the names that the weights have in a checkpoint."""
        return {"decay": self.decay, "count": self.count, "weights": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        weights = self._weights()
        self.count = int(state["count"])
        saved = state["weights"]
        self.values = {
            name: saved[name].to(weights[name].device, copy=True)
            for name in (weights if self.count else ())
        }

    def _weights(self) -> dict[str, Tensor]:
        return {name: table[key].detach() for name, (table, key) in self.tables.items()}

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        weights = self._weights()
        for name, value in values.items():
            weights[name].copy_(value)


def check_decay(decay: float | None) -> None:
    """Raises a ``ValueError`` unless a decay is None or in [0, 1)."""
    number = isinstance(decay, int | float) and not isinstance(decay, bool)
    if decay is not None and not (number and 0 <= decay < 1):
        raise ValueError(
            "average: expected None, or the decay of a moving average of the weights, a number of "
            f"at least 0 and below 1, for example 0.999, found {decay!r}"
        )


def make_average(
    decay: float | None, objective: Objective, player: Player, stored: Mapping[str, Tensor]
) -> WeightAverage | None:
    """Makes the average of a player's weights; None without a decay.

    Buffers are those of all modules without the ones of the other players alone.

    Args:
        decay: Share of the average that a step keeps.
        objective: The modules, with their names in a checkpoint.
        player: The player.
        stored: Parameters that live in Pyro's store, by name.
    """
    if decay is None:
        return None
    own = {id(parameter) for parameter in player.parameters}
    kept = {id(module) for module in modules_of([objective.model])}
    others = {id(module) for module in modules_of(objective.game.averaged_without)} - kept
    tables: dict[str, tuple[Any, str]] = {}
    for prefix, module in objective.named_modules(remove_duplicate=False):
        for key in _names(module, own, buffers=id(module) not in others):
            table = module._parameters if key in module._parameters else module._buffers
            tables[f"{prefix}.{key}" if prefix else key] = table, key
    store = {name: value for name, value in stored.items() if id(value) in own}
    tables |= {f"stored.{name}": (store, name) for name in store}
    return WeightAverage(float(decay), tables)


def _names(module: nn.Module, own: set[int], *, buffers: bool) -> list[str]:
    """A module's own parameters among those of a player, and its buffers that checkpoints keep."""
    names = [name for name, parameter in module._parameters.items() if id(parameter) in own]
    if buffers:
        left_out = module._non_persistent_buffers_set
        names += [n for n, b in module._buffers.items() if b is not None and n not in left_out]
    return names
