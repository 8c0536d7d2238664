"""What a training tells its callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
        learning_rate: Learning rate of the next step, of the optimiser's first group.
    """

    kind: str
    step: int
    epoch: float
    terms: Mapping[str, float]
    history: History
    learning_rate: float = math.nan

    def __repr__(self) -> str:
        terms = ", ".join(f"{name} {value:.2f}" for name, value in self.terms.items())
        return f"{self.kind} at step {self.step}, epoch {self.epoch:.2f}" + (
            f": {terms}, nats per datum" if terms else ""
        )


Callback = Callable[[Event], None]
