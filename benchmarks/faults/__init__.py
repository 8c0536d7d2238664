"""Faults that are injected into runs, and what must survive them: see ``__main__.py``."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.runs.history import History
from pyro_mivae.training import fit
from pyro_mivae.training.checkpoints import load_checkpoint

Fault = Callable[[Path], None]
"""Injects a fault in an empty folder; raises an ``AssertionError`` where one does not survive."""

X = torch.linspace(-2.0, 3.0, 25)


class Model(nn.Module):
    """x = z + shift + noise, with a buffer that counts its calls."""

    calls: Tensor

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> None:
        """Samples z, and x, which is observed."""
        self.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z + self.shift.sum(), 1.0), obs=x)


class Guide(nn.Module):
    """z by a linear map of x."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> None:
        """Samples z."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.gain * x, 0.7))


def train(
    folder: Path | None, model: nn.Module | None = None, data: Tensor = X, **settings: Any
) -> tuple[dict[str, Tensor], History]:
    """Trains the tiny pair for six steps; returns its state and the history."""
    pyro.clear_param_store()
    pair = model or Model(), Guide()
    usual = {"steps": 6, "batch_size": 10, "checkpoint_every": 2, "log_every": 2}
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.5)
    arguments: dict[str, Any] = {**usual, "device": "cpu", "progress": False, **settings}
    history = fit(*pair, elbo, data, folder=folder, **arguments)
    states = {f"{i}.{name}": v for i, m in enumerate(pair) for name, v in m.state_dict().items()}
    return states, history


def check_goes_on(folder: Path, **settings: Any) -> None:
    """Goes on with the training in a folder and compares it, bit for bit, with one of no stop."""
    steps = settings.pop("steps", 8)
    states, history = train(folder, resume=True, steps=steps, **settings)
    expected, rows = train(None, steps=steps, **settings)
    assert history.rows == rows.rows, f"history {history.rows}, expected {rows.rows}"
    for name, value in expected.items():
        assert torch.equal(states[name], value), f"{name} is not that of a run without a stop"
    assert load_checkpoint(folder)["step"] == steps


@contextmanager
def refused(kind: type[BaseException], words: str) -> Iterator[None]:
    """Expects an error of a kind whose words match a pattern."""
    try:
        yield
    except kind as error:
        text = " ".join(str(error).split())
        assert re.search(words, text), f"expected {words!r} in: {text}"
    else:
        raise AssertionError(f"expected a {kind.__name__}, {words!r}, found none")


@contextmanager
def forked(do: Callable[[], object]) -> Iterator[int]:
    """Does something in a process of its own, which is killed at the end; gives its number."""
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            do()
        finally:
            os._exit(0)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.01)


def fails_with(number: int) -> Any:
    """Makes each new temporary file a failure of the disk, by an errno."""
    error = OSError(number, "")
    error.strerror = "the disk fails"
    return mock.patch("tempfile.mkstemp", side_effect=error)


def flip(path: Path, place: int) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def gathered(*tables: Mapping[str, Fault]) -> dict[str, Fault]:
    """Joins tables of faults; a name that is there twice is an error."""
    faults: dict[str, Fault] = {}
    for table in tables:
        for name, fault in table.items():
            assert name not in faults, name
            faults[name] = fault
    return faults
