"""SIGINT and SIGTERM during a training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(Exception):  # noqa: N818 -- an event, not an error
    """SIGINT or SIGTERM stopped the training after a checkpoint was written.

    Attributes:
        step: Steps done.
        folder: The checkpoint's folder.
        signal: The signal's number.
    """

    def __init__(self, step: int, folder: Path, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.step = step
        self.folder = folder
        self.signal = number


@contextmanager
def collected_signals(active: bool) -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; a second SIGINT is a KeyboardInterrupt as usual."""
    received: list[int] = []
    if not active or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
