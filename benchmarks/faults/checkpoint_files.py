"""Faults of checkpoints: flipped, torn, foreign, of other models, of no finite parameters."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from benchmarks.faults import Fault, Guide, Model, X, check_goes_on, flip, forked, refused, train
from pyro_mivae.infer import CHANNELS, Channel, TraceMI_ELBO
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.training import NonFiniteError, fit
from pyro_mivae.training.checkpoints import (
    NAME,
    PREVIOUS,
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
)

PLACES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999)
EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no parameters": lambda s: s.pop("objective"),
    "a parameter less": lambda s: s["objective"].pop("model.shift"),
    "a buffer less": lambda s: s["objective"].pop("model.calls"),
    "a parameter more": lambda s: s["objective"].update(more=torch.ones(2)),
    "parameters of a list": lambda s: s.update(objective=[1, 2]),
    "another shape": lambda s: s["objective"].update({"model.shift": torch.ones(3)}),
    "stored parameters": lambda s: s.update(stored={"a": torch.ones(2)}),
    "no optimiser": lambda s: s.update(optimizer={}),
    "a group without parameters": lambda s: s["optimizer"]["model"]["param_groups"][0][
        "params"
    ].pop(),
    "no random state": lambda s: s.update(random={}),
    "no step of the ELBO": lambda s: s.update(elbo={}),
    "readings of a number": lambda s: s.update(pending=[3]),
    "no step": lambda s: s.pop("step"),
    "no history": lambda s: s.pop("history"),
}


def _damaged(folder: Path, damage: Callable[[Path], object]) -> None:
    """The last one is damaged: the previous one is taken, and the bits are those of no stop."""
    train(folder)
    damage(folder / NAME)
    check_goes_on(folder)


def _both_damaged(folder: Path, place: float) -> None:
    train(folder)
    for name in (NAME, PREVIOUS):
        flip(folder / name, int(place * (folder / name).stat().st_size))
    with refused(CheckpointError, "No good checkpoint .* backup, or train anew"):
        train(folder, resume=True)


def _flip_share(place: float) -> Callable[[Path], None]:
    return lambda path: flip(path, int(place * path.stat().st_size))


def _cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


def _edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    train(folder, steps=2)
    state = load_checkpoint(folder)
    edit(state)
    torch.save(state, folder / NAME)
    (folder / PREVIOUS).unlink(missing_ok=True)
    with refused(CheckpointError, "checkpoint"):
        train(folder, resume=True)


def _foreign(folder: Path, content: object) -> None:
    torch.save(content, folder / NAME)
    with refused(CheckpointError, "no checkpoint|can't be read"):
        train(folder, resume=True)


def _other_model(folder: Path, resume: bool) -> None:
    train(folder)
    before = (folder / NAME).read_bytes()
    with refused(CheckpointError, r"'model\.shift': expected shape \(3,\), found shape \(1,\)"):
        train(folder, Model(3), resume=resume)
    assert (folder / NAME).read_bytes() == before


def _killed_write(folder: Path) -> None:
    """A process is killed while it writes: its leftover goes, and the checkpoint is good."""
    train(folder)

    def write() -> None:
        with atomic_path(folder / NAME) as path:
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    with forked(write) as process:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert list(folder.glob(".*.tmp"))
    check_goes_on(folder)
    assert not list(folder.glob(".*.tmp"))


def _no_temporary_folder(folder: Path) -> None:
    with mock.patch("tempfile.tempdir", str(folder / "none")):
        train(folder)
    check_goes_on(folder)


class _Root(nn.Module):
    """A scale of 1 + sqrt|s|, whose gradient at 0 is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> None:
        """Samples z, and x, which is observed."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0 + self.scale.abs().sqrt()), obs=x)


def _bad_gradient(folder: Path, channel: Channel, steps: int) -> None:
    """The loss is finite and its gradient is not: no parameters of that are saved."""
    elbo = TraceMI_ELBO(channel=channel, mi_weight=0.1)
    settings: dict[str, Any] = {"steps": steps, "device": "cpu", "progress": False}
    with refused(NonFiniteError, r"step \d|after step \d"):
        fit(_Root(), Guide(), elbo, X, folder=folder, checkpoint_every=1, **settings)
    assert not has_checkpoint(folder)


def _buffers(folder: Path) -> None:
    train(folder, steps=4)
    calls = load_checkpoint(folder)["objective"]["model.calls"]
    assert calls == 4, f"the buffer counts {calls} calls, expected 4"
    check_goes_on(folder)


FAULTS: dict[str, Fault] = {
    **{f"a bit flipped at {p:.1%}": partial(_damaged, damage=_flip_share(p)) for p in PLACES},
    **{f"both flipped at {p:.1%}": partial(_both_damaged, place=p) for p in PLACES[1::3]},
    **{f"cut to {p:.0%}": partial(_damaged, damage=_cut(p)) for p in (0.0, 0.01, 0.5, 0.99)},
    "the last is removed": partial(_damaged, damage=Path.unlink),
    **{f"edited: {name}": partial(_edited, edit=edit) for name, edit in EDITS.items()},
    "a state_dict": partial(_foreign, content={"shift": torch.ones(2)}),
    "a list": partial(_foreign, content=[1, 2]),
    "a pickled module": partial(_foreign, content=Model()),
    "another model, resumed": partial(_other_model, resume=True),
    "another model, anew": partial(_other_model, resume=False),
    "a write that is killed": _killed_write,
    "no temporary folder": _no_temporary_folder,
    **{
        f"a gradient that is not finite, {channel}, {steps} steps": partial(
            _bad_gradient, channel=channel, steps=steps
        )
        for channel in CHANNELS
        for steps in (1, 3)
    },
    "buffers": _buffers,
}
