"""Faults of resuming: signals at any moment, other data and settings, kills, history to the row."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults import Fault, X, check_goes_on, forked, refused, train, until
from pyro_mivae.training import Event, Interrupted
from pyro_mivae.training.checkpoints import NAME, CheckpointError, has_checkpoint, load_checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _adam(learning_rate: float, **settings: Any) -> Any:
    return lambda parameters: torch.optim.Adam(parameters, lr=learning_rate, **settings)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "data": ({"data": X + 1}, "checksum of the data"),
    "one datum": ({"data": torch.cat([X[:-1], X[:1]])}, "checksum of the data"),
    "fewer data": ({"data": X[1:]}, "25 data there, 24 now"),
    "another type": ({"data": X.double()}, "checksum of the data"),
    "seed": ({"seed": 1}, "seed: 0 there, 1 now"),
    "batch size": ({"batch_size": 5}, "batch_size: 10 there, 5 now"),
    "no batches": ({"batch_size": None}, "batch_size: 10 there, None now"),
    "drop_last": ({"drop_last": True}, "steps_per_epoch: 3 there, 2 now"),
    "learning rate": ({"optimizer": _adam(0.1)}, "learning rate of Adam: 0.001 there, 0.1 now"),
    "weight decay": ({"optimizer": _adam(1e-3, weight_decay=0.1)}, "weight_decay of Adam"),
    "optimiser": ({"optimizer": lambda p: torch.optim.SGD(p, lr=1e-3)}, "another optimiser"),
    "fewer steps": ({"steps": 5}, "steps=5, but .* has done 6 already"),
}


def _other(folder: Path, settings: dict[str, Any], words: str) -> None:
    train(folder)
    before = (folder / NAME).read_bytes()
    with refused(CheckpointError, words):
        train(folder, resume=True, **{"steps": 8, **settings})
    assert (folder / NAME).read_bytes() == before
    check_goes_on(folder)


class _Said(logging.Handler):
    """Collects what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Collects a line."""
        self.lines.append(record.getMessage())


def _said(folder: Path, change: str, words: str) -> None:
    """What changes bits only is said."""
    train(folder)
    handler, logger = _Said(), logging.getLogger("pyro_mivae")
    threads = torch.get_num_threads()
    logger.addHandler(handler)
    try:
        if change == "threads":
            torch.set_num_threads(threads + 1)
            train(folder, steps=8, resume=True)
        else:
            train(folder, steps=8, resume=True, precision="bf16-mixed")
    finally:
        torch.set_num_threads(threads)
        logger.removeHandler(handler)
    assert any(words in line for line in handler.lines), handler.lines


def _signalled(folder: Path, number: int, kind: str, step: int) -> None:
    """A signal at a moment of a training: it ends after a checkpoint, and goes on to the bit."""

    def kill(event: Event) -> None:
        if (event.kind, event.step) == (kind, step):
            os.kill(os.getpid(), number)

    with refused(Interrupted, f"{signal.Signals(number).name} after step {step}"):
        train(folder, steps=8, callbacks=[kill])
    check_goes_on(folder)


def _stopped_at(folder: Path, stops: tuple[int, ...], log_every: int) -> None:
    """Steps that were raised several times: no row more or less than without a stop."""
    for number, steps in enumerate(stops):
        train(folder, steps=steps, log_every=log_every, resume=number > 0)
    check_goes_on(folder, steps=20, log_every=log_every)


def _killed(folder: Path, number: int) -> None:
    """SIGKILL at a random moment: what goes on ends as if nothing had been."""
    torch.set_num_threads(1)
    with forked(lambda: train(folder, steps=4000, checkpoint_every=5, log_every=7)):
        until(lambda: has_checkpoint(folder))
        time.sleep(random.Random(number).uniform(0.0, 0.3))
    step = load_checkpoint(folder)["step"]
    check_goes_on(folder, steps=step + 9, log_every=7)


FAULTS: dict[str, Fault] = {
    **{
        f"resumed with another {name}": partial(_other, settings=settings, words=words)
        for name, (settings, words) in OTHERS.items()
    },
    "another number of threads": partial(_said, change="threads", words="threads, this training"),
    "another precision": partial(_said, change="precision", words="precision 'bf16-mixed'"),
    **{
        f"{signal.Signals(number).name} at {kind}, step {step} of 8": partial(
            _signalled, number=number, kind=kind, step=step
        )
        for number in SIGNALS
        for kind, step in (("log", 2), ("epoch", 3), ("log", 8), ("end", 8))
    },
    **{
        f"stopped at {stops}, rows of {log_every} steps": partial(
            _stopped_at, stops=stops, log_every=log_every
        )
        for stops, log_every in (((1,), 7), ((4, 6), 7), ((7, 8, 9), 7), ((3, 13), 5), ((19,), 10))
    },
    **{f"SIGKILL, moment {n}": partial(_killed, number=n) for n in range(6)},
}
