"""Faults of the disk: full, read-only, gone, limits of a file's size, in every file of a run."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.faults import Fault, check_goes_on, fails_with, refused, train
from pyro_mivae import runs
from pyro_mivae.runs import groups
from pyro_mivae.runs.files import WriteError
from pyro_mivae.runs.history import History
from pyro_mivae.training import Event
from pyro_mivae.training.checkpoints import NAME, load_checkpoint

ERRORS = {
    "full": errno.ENOSPC,
    "read-only": errno.EROFS,
    "over its quota": errno.EDQUOT,
    "broken": errno.EIO,
}


def _history() -> History:
    history = History()
    for step in range(200):
        history.add(step, step / 10, "train", {"loss": 1.0 / (step + 1)})
    return history


def _posterior(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    groups.write(groups.make_tree({"g": groups.make_group({"x": (("d",), values)})}, {}), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    runs.CONFIG: lambda path: runs.write_config(path.parent, {"seed": [0] * 3000}, {}),
    runs.HISTORY: lambda path: _history().write_csv(path),
    runs.METRICS: lambda path: runs.write_json(path, {"a": [0.5] * 3000}),
    groups.FILE: _posterior,
}


def _write_fails(folder: Path, name: str, number: int) -> None:
    """A file can't be written: one sentence, what was there is kept, and it works later on."""
    path = folder / name
    WRITERS[name](path)
    before = path.read_bytes()
    with fails_with(number), refused(WriteError, f"{name} can't be written .*make room"):
        WRITERS[name](path)
    assert path.read_bytes() == before
    WRITERS[name](path)
    assert os.listdir(folder) == [name]


@contextmanager
def _small_files(most: int) -> Iterator[None]:
    """Lets no file of this process grow over some bytes, as a full disk does."""
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def _too_large(folder: Path, name: str, most: int) -> None:
    """The disk is full in the middle of a file."""
    path = folder / name
    with _small_files(most), refused(WriteError, f"{name} can't be written .*make room"):
        WRITERS[name](path)
    assert os.listdir(folder) == []
    WRITERS[name](path)


def _checkpoint_fails(folder: Path, number: int) -> None:
    """The disk is full at a checkpoint: the last one is good, and the training goes on later."""
    train(folder, steps=2)
    with fails_with(number), refused(WriteError, f"{NAME} can't be written .*make room"):
        train(folder, resume=True)
    assert load_checkpoint(folder)["step"] == 2
    check_goes_on(folder)


def _checkpoint_too_large(folder: Path, most: int) -> None:
    train(folder, steps=2)
    with _small_files(most), refused(WriteError, r"(ckpt|lock) can't be written .*make room"):
        train(folder, resume=True)
    assert load_checkpoint(folder)["step"] == 2
    check_goes_on(folder)


def _removed(folder: Path, replaced_by: str) -> None:
    """The folder is removed in the middle of a training."""
    run = folder / "run"

    def remove(event: Event) -> None:
        if event.kind == "log" and event.step == 4 and run.is_dir():
            shutil.rmtree(run)
            if replaced_by == "a file":
                run.write_text("")

    with refused(WriteError, f"{NAME} can't be written .*make room"):
        train(run, callbacks=[remove])
    if replaced_by == "a file":
        with refused(ValueError, "found the file"):
            train(run)
        run.unlink()
    train(run)


def _claim_fails(folder: Path, overwrite: bool) -> None:
    """A run whose disk is full from the start leaves nothing in the way, and keeps the old one."""
    run = folder / "run"
    if overwrite:
        with runs.claimed(run):
            runs.write_config(run, {"seed": 1}, {})
            train(run)
    with (
        refused(WriteError, "config.json can't be written"),
        runs.claimed(run, overwrite=overwrite),
        fails_with(errno.ENOSPC),
    ):
        runs.write_config(run, {"seed": 2}, {})
    assert os.listdir(folder) == (["run"] if overwrite else [])


FAULTS: dict[str, Fault] = {
    **{
        f"a disk that is {words}: {name}": partial(_write_fails, name=name, number=number)
        for name in WRITERS
        for words, number in ERRORS.items()
    },
    **{
        f"no room after {most} bytes: {name}": partial(_too_large, name=name, most=most)
        for name in WRITERS
        for most in (1, 3000)
    },
    **{
        f"a disk that is {words}: checkpoint": partial(_checkpoint_fails, number=number)
        for words, number in ERRORS.items()
    },
    **{
        f"no room after {most} bytes: checkpoint": partial(_checkpoint_too_large, most=most)
        for most in (1, 2000)
    },
    "the folder is removed": partial(_removed, replaced_by="nothing"),
    "the folder becomes a file": partial(_removed, replaced_by="a file"),
    "a full disk from the start": partial(_claim_fails, overwrite=False),
    "a full disk from the start, to replace a run": partial(_claim_fails, overwrite=True),
}
