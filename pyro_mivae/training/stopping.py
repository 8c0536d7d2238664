"""Early stopping, as a callback."""

from __future__ import annotations

import logging
import math

from pyro_mivae.runs.history import History, Row
from pyro_mivae.training.events import Event

logger = logging.getLogger(__name__)


class EarlyStopping:
    """A callback that ends a training once a term has not improved for some rows.

    It looks at the history alone, so that a resumed training ends where an uninterrupted one
    does, and one that has ended ends at once. Rows of another split are those that another
    callback, earlier in the list, has added. Any callback with a method ``ends`` of the history
    ends trainings likewise: it is asked after each reading.

    Args:
        term: Column of the history, for example ``"loss"``.
        patience: Rows without an improvement before the training ends.
        min_delta: Smallest change that counts as an improvement, in nats per datum.
        split: Split of the rows.
        maximize: Whether a larger value is better.

    Raises:
        ValueError: If the settings are out of range, or, after a reading, if rows of the split
            have no such column.
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
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"patience must be an integer of at least 1, found {patience!r}")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta must be a finite number >= 0, found {min_delta}")
        self.term, self.patience, self.min_delta = term, patience, min_delta
        self.split, self.maximize = split, maximize

    def __call__(self, event: Event) -> None:
        """Warns at the end if there was nothing to look at."""
        if event.kind == "end" and not self._rows(event.history):
            logger.warning(
                "EarlyStopping has seen no row of the split %r: a callback before it has to add "
                "them to event.history",
                self.split,
            )

    def ends(self, history: History) -> bool:
        """Says whether the training is to end, by the rows since the last improvement."""
        rows = self._rows(history)
        values = [float(row[self.term]) for row in rows if self.term in row]
        if rows and not values:
            names = sorted({name for row in rows for name in row} - {"step", "epoch", "split"})
            raise ValueError(
                f"EarlyStopping: expected a column {self.term!r} in the rows of {self.split!r}, "
                f"found {', '.join(names)}"
            )
        best, waited = math.inf, 0
        for value in values:
            value = -value if self.maximize else value
            if value < best - self.min_delta:
                best, waited = value, 0
            else:
                waited += 1
            if waited >= self.patience:
                return True
        return False

    def _rows(self, history: History) -> list[Row]:
        return [row for row in history.rows if row["split"] == self.split]
