"""What a training tells its callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from pyro_mivae.runs.history import History


@dataclass(frozen=True, repr=False)
class Event:
    """What a callback is told.

    Attributes:
        kind: ``"log"`` after terms were read, ``"epoch"`` at the end of an epoch,
            ``"end"`` after the last step.
        step: Steps done.
        epoch: Epochs done, with fractions; 0 in the first epoch of data of unknown length.
        terms: The row just read, in nats per datum (empty but for ``"log"``).
        history: All rows, of a resumed training those before, too; a callback may add its own.
        learning_rate: Learning rate of the next step, of the first group of the optimiser; of a
            GAN the model's.
        learning_rates: Learning rates of the next step by player, ``"model"`` and, of a GAN,
            ``"reader"``.
        averaged: A context in which the modules have the moving average of the weights; without
            ``average=`` they stay as they are. To be used as ``with event.averaged(): ...``.
    """

    kind: str
    step: int
    epoch: float
    terms: Mapping[str, float]
    history: History
    learning_rate: float = math.nan
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    averaged: Callable[[], AbstractContextManager[None]] = field(
        default_factory=lambda: nullcontext, compare=False
    )

    def __repr__(self) -> str:
        terms = ", ".join(f"{name} {value:.2f}" for name, value in self.terms.items())
        return f"{self.kind} at step {self.step}, epoch {self.epoch:.2f}" + (
            f": {terms}, nats per datum" if terms else ""
        )


Callback = Callable[[Event], None]
