"""The terms of a training's steps: kept on the device, and read rarely."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from lightning_fabric import Fabric
from torch import Tensor

from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.parallel import mean_over_ranks


@dataclass
class TermLog:
    """The terms of the steps since the last row of the history.

    Attributes:
        fabric: Fabric of the training.
        unread: Step, terms summed over data, and number of data, on the device.
        of_player: Says whose a term is, for errors; "" where there is one player.
        pending: Step and terms per datum, on the host.
    """

    fabric: Fabric
    of_player: Callable[[str], str] = lambda term: ""
    unread: list[tuple[int, dict[str, Tensor], float]] = field(default_factory=list)
    pending: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def read(self) -> None:
        """Brings the collected terms to the host, in one transfer, and checks them.

        Of several processes all call this at the same steps, and read the same.

        Raises:
            NonFiniteError: If a term is NaN or infinite.
        """
        if not self.unread:
            return
        flat = torch.stack([v.double() for _, terms, _ in self.unread for v in terms.values()])
        counts = [float(count) for _, terms, count in self.unread for _ in terms]
        values = iter(mean_over_ranks(self.fabric, flat / flat.new_tensor(counts)).tolist())
        for step, terms, _ in self.unread:
            self.take(step, {name: next(values) for name in terms})
        self.unread.clear()

    def take(self, step: int, terms: dict[str, float]) -> None:
        """Adds the terms of a step that were read, in nats per datum.

        Raises:
            NonFiniteError: If a term is NaN or infinite.
        """
        for name, value in terms.items():
            if not math.isfinite(value):
                whose = f" of the {player}" if (player := self.of_player(name)) else ""
                raise NonFiniteError(f"'{name}'{whose} is {value} at step {step}")
        self.pending.append((step, terms))

    def means(self, *, keep: bool = False) -> dict[str, float]:
        """Reads what is left, and takes the mean of each term over the steps that have it.

        Args:
            keep: Whether the terms stay, to be a part of the next row, too.
        """
        self.read()
        means = {}
        for name in dict.fromkeys(name for _, terms in self.pending for name in terms):
            values = [terms[name] for _, terms in self.pending if name in terms]
            means[name] = sum(values) / len(values)
        if not keep:
            self.pending.clear()
        return means
