"""Faults of the main program: signals in measuring and drawing, a full disk, data that appear."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import xarray as xr

from benchmarks.faults import Fault, fails_with
from experiments import one_run
from experiments.mnist import program as mnist
from pyro_mivae import runs
from pyro_mivae.datasets import load_digits
from pyro_mivae.datasets.digits import Digits, Split
from pyro_mivae.training.checkpoints import NAME, load_checkpoint

SMALL = ["--data", "mnist-5k", "--steps", "3", "--batch-size", "10", "--networks", "conv"]
SMALL += ["--checkpoint-every", "2", "--validate-every", "2", "--evidence-images", "2"]
METRICS = {
    "test": {"elbo": -1.0, "log_likelihood": -1.0},
    "log_evidence": {
        "mean": -1.0,
        "standard_error": 0.1,
        "num_samples": 1,
        "num_images": 1,
        "unreliable": 0.0,
    },
    "not_measured": {},
}


@cache
def _digits() -> Digits:
    digits = load_digits("mnist-5k")
    few = (
        Split(s.images[:40], s.labels[:40]) for s in (digits.train, digits.validation, digits.test)
    )
    return Digits(digits.name, digits.checksum, digits.source, *few)


def _full() -> Digits:
    few = _digits()
    return Digits("mnist", "1" * 64, "The full set.", few.train, few.validation, few.test)


def _load(name: str, **_: Any) -> Digits:
    """Finds both sets: auto takes the full one."""
    return _digits() if name == "mnist-5k" else _full()


@contextmanager
def _small(**changes: Any) -> Iterator[None]:
    """Measures and draws in no time, or as `changes` say."""
    usual: dict[str, Any] = {
        "load_digits": _load,
        "measure": lambda *_: (json.loads(json.dumps(METRICS)), xr.Dataset()),
        "_write_draws": lambda *_: None,
        "report": lambda *_: None,
    }
    with contextlib.ExitStack() as stack:
        for name, function in {**usual, **changes}.items():
            if name != "redraw":
                module = one_run if name == "load_digits" else mnist
                stack.enter_context(mock.patch.object(module, name, function))
        redraw = changes.get("redraw", lambda folder: {})
        stack.enter_context(mock.patch("pyro_mivae.plotting.redraw", redraw))
        yield


def _run(*flags: str, **changes: Any) -> tuple[int, str]:
    """Runs the program; returns its status and all that it says."""
    said = io.StringIO()
    with _small(**changes), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = mnist.main([*flags])
    return status, said.getvalue()


def _killing(number: int) -> Any:
    return lambda *_, **__: os.kill(os.getpid(), number)


def _goes_on(folder: Path, said: str) -> None:
    """The line that the program says is typed, and the run is done."""
    line = f"go on with\n  python -m experiments.mnist --resume {folder}"
    assert line in said, said
    before = load_checkpoint(folder)["objective"]
    status, said = _run("--resume", str(folder))
    assert status == 0, said
    assert (folder / runs.METRICS).exists()
    after = load_checkpoint(folder)
    assert after["step"] == 3
    assert before.keys() == after["objective"].keys()


def _stopped_in(folder: Path, what: str, number: int) -> None:
    """A signal while a run is measured or drawn."""
    run = folder / "run"
    status, said = _run(*SMALL, "--out", str(run), **{what: _killing(number)})
    assert status == 128 + number, (status, said)
    assert f"stopped by {signal.Signals(number).name}" in said
    assert not (run / runs.METRICS).exists()
    _goes_on(run, said)


def _stopped_early(folder: Path, number: int, overwrite: bool) -> None:
    """A signal before the first checkpoint: nothing is left, or the run that was there."""
    run, flags = folder / "run", []
    if overwrite:
        assert _run(*SMALL, "--out", str(run))[0] == 0
        flags = ["--overwrite", "--seed", "5"]
    status, said = _run(*SMALL, *flags, "--out", str(run), fit=_killing(number))
    assert status == 128 + number
    assert "before the first checkpoint: start the same command again" in said, said
    if overwrite:
        assert runs.read_config(run)["settings"]["training"]["seed"] == 0
        assert (run / runs.METRICS).exists()
    else:
        assert not run.exists()
    assert _run(*SMALL, *flags, "--out", str(run))[0] == 0


def _appeared(folder: Path) -> None:
    """A run on the 5,000 digits is resumed once the full set is there; and not the other way."""
    run = folder / "run"
    flags = ["--data", "auto", *SMALL[2:], "--out", str(run)]
    status, said = _run(*flags, load_digits=lambda *_, **__: _digits())
    assert status == 0, said
    status, said = _run("--resume", str(run), "--steps", "5")
    assert status == 0, said
    assert load_checkpoint(run)["step"] == 5
    config = runs.read_config(run)
    assert config["data"]["name"] == "mnist-5k"
    assert config["earlier"][0]["settings"]["training"]["steps"] == 3, "what ran stays on record"
    status, said = _run("--resume", str(run), load_digits=lambda *_, **__: _full())
    assert status == 1
    assert "was on mnist-5k" in said


def _other_flags(folder: Path, flag: str, value: str) -> None:
    run = folder / "run"
    assert _run(*SMALL, "--out", str(run))[0] == 0
    before = (run / runs.CONFIG).read_bytes()
    status, said = _run("--resume", str(run), flag, value)
    assert status == 1, said
    assert flag in said
    assert (run / runs.CONFIG).read_bytes() == before


def _failing(number: int) -> Any:
    """Every write fails from here on."""

    def fail(*_: Any) -> None:
        with fails_with(number):
            runs.write_json(Path("never"), {})

    return fail


def _disk(folder: Path, what: str, number: int) -> None:
    """The disk is full while a run is measured or drawn: one sentence, and it goes on later."""
    run = folder / "run"
    status, said = _run(*SMALL, "--out", str(run), **{what: _failing(number)})
    assert status == 1
    assert "can't be written (the disk fails): make room" in said, said
    assert "Traceback" not in said
    _goes_on(run, said)


def _disk_at_start(folder: Path) -> None:
    run = folder / "run"
    with fails_with(errno.ENOSPC):
        status, said = _run(*SMALL, "--out", str(run))
    assert status == 1
    assert "error: " in said
    assert "config.json can't be written" in said, said
    assert not run.exists()
    assert _run(*SMALL, "--out", str(run))[0] == 0


def _damaged(folder: Path, name: str, words: str) -> None:
    """A file of the run was damaged before it is resumed: it is named, or made anew."""
    run = folder / "run"
    assert _run(*SMALL, "--out", str(run))[0] == 0
    (run / name).write_text("{")
    status, said = _run("--resume", str(run), "--steps", "4")
    if words:
        assert status == 1
        assert words in said, said
        assert "Traceback" not in said
    else:
        assert status == 0, said
        assert (run / name).read_text() != "{"


def _foreign_checkpoint(folder: Path) -> None:
    run = folder / "run"
    assert _run(*SMALL, "--out", str(run))[0] == 0
    for path in run.glob("*.ckpt"):
        path.unlink()
    torch.save({"state_dict": {}}, run / NAME)
    status, said = _run("--resume", str(run))
    assert status == 1
    assert "is no checkpoint of fit" in said, said


def _removed(folder: Path) -> None:
    run = folder / "run"
    status, said = _run(*SMALL, "--out", str(run), measure=lambda *_: _gone(run))
    assert status == 1
    assert "can't be written" in said, said


def _gone(run: Path) -> Any:
    shutil.rmtree(run)
    return dict(METRICS), xr.Dataset()


SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPS: dict[str, Fault] = {
    **{
        f"the program, {signal.Signals(number).name} in {what}": partial(
            _stopped_in, what=what, number=number
        )
        for number in SIGNALS
        for what in ("measure", "_write_draws", "redraw")
    },
    **{
        f"the program, {signal.Signals(number).name} early, overwriting {overwrite}": partial(
            _stopped_early, number=number, overwrite=overwrite
        )
        for number in SIGNALS
        for overwrite in (False, True)
    },
    "the program, full MNIST appears": _appeared,
    **{
        f"the program, resumed with {flag}": partial(_other_flags, flag=flag, value=value)
        for flag, value in (
            *(("--seed", "3"), ("--batch-size", "5"), ("--learning-rate", "0.1")),
            *(("--steps", "2"), ("--mi-weight", "3")),
        )
    },
}
DAMAGE: dict[str, Fault] = {
    **{
        f"the program, {errno.errorcode[number]} in {what}": partial(
            _disk, what=what, number=number
        )
        for number in (errno.ENOSPC, errno.EROFS)
        for what in ("_write_draws", "redraw")
    },
    "the program, a full disk from the start": _disk_at_start,
    "the program, its folder is removed": _removed,
    "the program, config.json is torn": partial(
        _damaged, name=runs.CONFIG, words="config.json can't be read"
    ),
    "the program, history.csv is torn": partial(_damaged, name=runs.HISTORY, words=""),
    "the program, metrics.json is torn": partial(_damaged, name=runs.METRICS, words=""),
    "the program, a foreign checkpoint": _foreign_checkpoint,
}
