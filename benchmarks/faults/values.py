"""Values that no run survives: not finite, out of range; found before anything is made."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from benchmarks.faults import Fault, refused, train
from experiments.mnist import program as mnist
from experiments.mnist.metrics import implausible
from pyro_mivae.infer import CHANNELS, Channel, TraceMI_ELBO
from pyro_mivae.runs.history import History
from pyro_mivae.training import NonFiniteError, fit
from pyro_mivae.training.checkpoints import has_checkpoint

LIKELIHOODS: dict[str, Callable[[Tensor], Any]] = {
    "Bernoulli": lambda loc: dist.Bernoulli(logits=loc),
    "Poisson": lambda loc: dist.Poisson(loc.exp()),
    "Normal": lambda loc: dist.Normal(loc, 1.0),
    "Gamma": lambda loc: dist.Gamma(loc.exp(), 1.0),
}
SETTINGS: dict[str, tuple[Any, str]] = {
    "steps": (2.5, "steps must be a whole number, at least 1, found 2.5"),
    "batch_size": (0, "batch_size must be at least 1, found 0"),
    "seed": (-1, "seed must be at least 0, found -1"),
    "checkpoint_every": (0, "checkpoint_every must be at least 1, found 0"),
    "log_every": ("often", "log_every must be a whole number, at least 1, found 'often'"),
    "resume": ("no", "resume must be True or False, found 'no'"),
    "drop_last": (1, "drop_last must be True or False, found 1"),
    "callbacks": ([3], "callbacks must be a callable, found 3"),
    "device": ("gpu", "device must be one of 'auto', 'cpu', 'cuda', found 'gpu'"),
}
FLAGS = {
    "--steps 0": "--steps must be at least 1, found 0",
    "--batch-size -5": "--batch-size must be at least 1, found -5",
    "--learning-rate nan": "--learning-rate must be a finite number, above 0, found nan",
    "--seed -1": "--seed must be at least 0, found -1",
    "--mi-weight inf": "--mi-weight must be a finite number, at least 0, found inf",
    "--mi-warmup -1": "--mi-warmup must be at least 0, found -1",
    "--evidence-samples 1000000000": "--evidence-samples must be at most 100000000, found",
    "--code-dim 0": "--code-dim must be at least 1, found 0",
}


class _Model(nn.Module):
    def __init__(self, likelihood: str) -> None:
        super().__init__()
        self.decoder, self.likelihood = nn.Linear(3, 4), LIKELIHOODS[likelihood]

    def forward(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = self.likelihood(self.decoder(torch.cat([z, y], -1)))
            pyro.sample("x", fn.to_event(1), obs=x)


class _Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 4)

    def forward(self, x: Tensor, y: Tensor) -> None:
        loc, log_scale = self.encoder(torch.cat([x, y], -1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def _nan(folder: Path, channel: Channel, likelihood: str) -> None:
    """A covariate is NaN in the second batch: the error names the step, and nothing bad is kept."""
    torch.manual_seed(0)
    x, y = torch.bernoulli(torch.rand(100, 4)) + (likelihood == "Gamma"), torch.randn(100, 1)
    y[::2] = float("nan")
    pair = _Model(likelihood), _Guide()
    settings: dict[str, Any] = {"steps": 10, "batch_size": 50, "device": "cpu", "folder": folder}
    with refused(NonFiniteError, r"step \d"):
        fit(*pair, TraceMI_ELBO(channel=channel), (x, y), progress=False, **settings)
    assert not has_checkpoint(folder)


def _setting(folder: Path, name: str) -> None:
    value, words = SETTINGS[name]
    run = folder / "run"
    with refused(ValueError, words):
        train(run, **{name: value})
    assert not run.exists()


def _flag(folder: Path, flag: str) -> None:
    """A flag out of its range: one sentence, status 1, no folder."""
    said, run = io.StringIO(), folder / "run"
    with contextlib.redirect_stderr(said):
        assert mnist.main([*flag.split(), "--data", "mnist-5k", "--out", str(run)]) == 1
    assert said.getvalue().startswith(f"error: {FLAGS[flag]}"), said.getvalue()
    assert not run.exists()


def _implausible(folder: Path) -> None:
    """A training that diverged, or ended with absurd numbers, says so."""
    history = History()
    for step, loss in enumerate((500.0, 4e7)):
        history.add(step, step, "train", {"loss": loss})
    assert "rose from 500 to 4e+07" in implausible(history, {"elbo": -500.0})
    assert "kl is 1e+09 nats" in implausible(history, {"elbo": -500.0, "kl": 1e9})
    assert "kl is nan nats" in implausible(history, {"kl": float("nan")})
    history.rows[1]["loss"] = 100.0
    assert not implausible(history, {"elbo": -100.0})


FAULTS: dict[str, Fault] = {
    **{
        f"NaN under {channel}, {likelihood}": partial(_nan, channel=channel, likelihood=likelihood)
        for channel in CHANNELS
        for likelihood in LIKELIHOODS
    },
    **{f"fit({name}={SETTINGS[name][0]!r})": partial(_setting, name=name) for name in SETTINGS},
    **{flag: partial(_flag, flag=flag) for flag in FLAGS},
    "numbers of a training that diverged": _implausible,
}
