"""The rows of a training's history handed to the loggers of Lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning_fabric.loggers.logger import Logger

from pyro_mivae.training.events import Event
from pyro_mivae.training.loop import Loop
from pyro_mivae.training.signals import Interrupted


class LoggerCallback:
    """A callback that hands each new row of the history to a logger, as ``<split>/<term>``.

    Rows that callbacks before it in the list have added are handed on, too.

    Args:
        logger: A logger of Lightning Fabric.
        rows: Rows of a resumed training, which are not handed on again.
    """

    def __init__(self, logger: Logger, rows: int) -> None:
        self.logger, self.rows = logger, rows

    def __call__(self, event: Event) -> None:
        """Logs the rows since the last event."""
        for row in event.history.rows[self.rows :]:
            values = {
                f"{row['split']}/{name}": float(value)
                for name, value in row.items()
                if name not in ("step", "epoch", "split")
            }
            values["epoch"] = float(row["epoch"])
            if row["split"] == "train":
                values["learning_rate"] = event.learning_rate
                for player, rate in event.learning_rates.items():
                    if len(event.learning_rates) > 1:
                        values[f"learning_rate/{player}"] = rate
            self.logger.log_metrics(values, int(row["step"]))
        self.rows = len(event.history.rows)


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Raises a ``ValueError`` unless all are loggers of Lightning Fabric."""
    several = isinstance(loggers, list | tuple)
    for logger in loggers if several else (loggers,):
        if not several or not isinstance(logger, Logger):
            raise ValueError(
                "loggers: expected a list of loggers of Lightning Fabric, for example "
                f'[lightning_fabric.loggers.CSVLogger("logs")], found {type(logger).__name__}'
                + (" in it" if several else "")
            )


@contextmanager
def logging_to(loggers: Sequence[Logger], loop: Loop) -> Iterator[None]:
    """Adds loggers to the callbacks of a loop, and ends them however the training ends.

    Args:
        loggers: Loggers of Lightning Fabric.
        loop: Loop of a training, restored if it is resumed.
    """
    rows = len(loop.history)
    loop.callbacks = [*loop.callbacks, *(LoggerCallback(logger, rows) for logger in loggers)]
    status = "failed"
    try:
        yield
        status = "success"
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        for logger in loggers if loop.fabric.is_global_zero else ():
            logger.finalize(status)
