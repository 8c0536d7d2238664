"""Early stopping, as a callback."""

from __future__ import annotations

import math

from pyro_mivae.training.loop import Event


class EarlyStopping:
    """A callback that ends a training once a term has not improved for some readings.

    It looks at the history alone, so that a resumed training stops where an uninterrupted one
    does. Rows of a split ``"validation"`` are those that another callback, earlier in the list,
    has added.

    Args:
        term: Column of the history, for example ``"loss"``.
        patience: Readings without an improvement before the training ends.
        min_delta: Smallest change that counts as an improvement, in nats per datum.
        split: Split of the rows.
        maximize: Whether a larger value is better.

    Attributes:
        stopped: Whether the training is to end.
    """

    def __init__(
        self,
        term: str = "loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        split: str = "train",
        maximize: bool = False,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, found {patience}")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta must be a finite number >= 0, found {min_delta}")
        self.term, self.patience, self.min_delta = term, patience, min_delta
        self.split, self.maximize = split, maximize
        self.stopped = False

    def __call__(self, event: Event) -> None:
        """Looks for the last improvement after each reading."""
        if event.kind != "log":
            return
        _, values = event.history.series(self.term, self.split)
        best, waited = math.inf, 0
        for value in values:
            value = -value if self.maximize else value
            if value < best - self.min_delta:
                best, waited = value, 0
            else:
                waited += 1
        self.stopped = waited >= self.patience
