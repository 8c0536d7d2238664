"""Readings of a training handed to the loggers of Lightning Fabric."""

from __future__ import annotations

from lightning_fabric.loggers.logger import Logger

from pyro_mivae.training.loop import Event


class LoggerCallback:
    """A callback that hands the terms of each reading to a logger, as ``train/<term>``.

    Args:
        logger: A logger of Lightning Fabric.

    Raises:
        ValueError: If it is none.
    """

    def __init__(self, logger: Logger) -> None:
        if not isinstance(logger, Logger):
            raise ValueError(
                "loggers: expected loggers of Lightning Fabric, for example "
                'lightning_fabric.loggers.CSVLogger("logs"), found '
                f"{type(logger).__name__}"
            )
        self.logger = logger

    def __call__(self, event: Event) -> None:
        """Logs a reading, and writes what is left at the end."""
        if event.kind == "log":
            terms = {f"train/{name}": value for name, value in event.terms.items()}
            self.logger.log_metrics({**terms, "epoch": event.epoch}, event.step)
        elif event.kind == "end":
            self.logger.finalize("success")
