"""Faults of folders: two runs of one, foreign ones, runs that fail early, killed starts."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path
from unittest import mock

from benchmarks.faults import Fault, Model, X, forked, refused, train, until
from pyro_mivae import runs
from pyro_mivae.runs import flock
from pyro_mivae.runs.flock import read_record
from pyro_mivae.runs.lock import LOCK, FolderInUseError, locked
from pyro_mivae.training.checkpoints import NAME, CheckpointError, load_checkpoint


def make_run(folder: Path, seed: int) -> None:
    """Makes a run with a checkpoint."""
    with runs.claimed(folder) as claim:
        runs.write_config(folder, {"seed": seed}, {"name": "tiny"})
        train(folder, seed=seed)
        claim.settle()


def seed_of(folder: Path) -> int:
    """Reads the seed of the run in a folder."""
    seed: int = runs.read_config(folder)["settings"]["seed"]
    return seed


def _hold(folder: Path) -> None:
    with locked(folder):
        time.sleep(600)


def _in_use(folder: Path, how: str) -> None:
    """Two trainings of one folder: the second is refused with the owner's name."""
    run = folder / "run"
    make_run(run, 1)
    before = (run / NAME).read_bytes()
    with forked(lambda: _hold(run)) as other:
        until(lambda: str(other) in read_record(run / LOCK)[0])
        words = f"process {other} on {platform.node()}, since 20"
        with refused(FolderInUseError, words):
            if how == "claimed":
                with runs.claimed(run, overwrite=True):
                    pass
            elif how == "resumed":
                with runs.resumed(run):
                    pass
            else:
                train(run, resume=how == "fit, resumed")
        assert (run / NAME).read_bytes() == before
    train(run, steps=8, seed=1, resume=True)  # the lock of what was killed is free


def _thread(folder: Path) -> None:
    errors: list[str] = []

    def try_it() -> None:
        try:
            with locked(folder):
                pass
        except FolderInUseError as error:
            errors.append(str(error))

    with locked(folder):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    (words,) = errors
    assert f"process {os.getpid()}" in words


def _elsewhere(folder: Path) -> None:
    (folder / LOCK).write_text("elsewhere/boot 7 token 2026-01-01T00:00:00")
    with refused(FolderInUseError, "process 7 on elsewhere, since 2026-01-01 00:00:00.*delete"):
        train(folder)


def _restarted(folder: Path) -> None:
    """The machine went down in a training."""
    (folder / LOCK).write_text(f"{platform.node()}/before 7 token 2026-01-01T00:00:00")
    train(folder)


def _garbled_lock(folder: Path) -> None:
    (folder / LOCK).write_bytes(b"\xff\x00")
    with refused(FolderInUseError, "delete"):
        train(folder)
    (folder / LOCK).unlink()
    train(folder)


def _another_run(folder: Path, change: str) -> None:
    """``fit`` in a folder with another run's checkpoints."""
    train(folder)
    owner = rf"another run \(process {os.getpid()} on {platform.node()}, since "
    with refused(CheckpointError, owner):
        if change == "model":
            train(folder, Model(2))
        else:
            train(folder, data=X + 1 if change == "data" else X[1:])


def _same_second(folder: Path) -> None:
    """Many threads start in one second: each has a folder of its own."""
    names: list[str] = []

    def start() -> None:
        names.append(runs.new_folder(folder / "run").name)

    threads = [threading.Thread(target=start) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 20, names


def _taken(folder: Path) -> None:
    make_run(folder / "run", 1)
    with refused(FileExistsError, "exists and holds a run"), runs.claimed(folder / "run"):
        pass
    assert seed_of(folder / "run") == 1


def _fails_early(folder: Path, overwrite: bool) -> None:
    run = folder / "run"
    if overwrite:
        make_run(run, 1)
    with refused(ZeroDivisionError, ""), runs.claimed(run, overwrite=overwrite):
        runs.write_config(run, {"seed": 2}, {})
        raise ZeroDivisionError
    if overwrite:
        assert seed_of(run) == 1
        assert os.listdir(folder) == ["run"]
    else:
        assert not run.exists()
        make_run(run, 3)


def _killed_start(folder: Path, overwrite: bool) -> None:
    """A start is killed before its first checkpoint: nothing is lost, nothing blocks."""
    run = folder / "run"
    if overwrite:
        make_run(run, 1)

    def start() -> None:
        with runs.claimed(run, overwrite=overwrite):
            runs.write_config(run, {"seed": 2}, {})
            os.kill(os.getpid(), signal.SIGKILL)

    with forked(start) as process:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert runs.read_config(run)["settings"] == {"seed": 2}
    if overwrite:
        with refused(FileExistsError, "holds a run"), runs.claimed(run):
            pass
        assert seed_of(run) == 1
        assert load_checkpoint(run)["step"] == 6
    else:
        make_run(run, 3)
        assert seed_of(run) == 3


def _replaced(folder: Path) -> None:
    run = folder / "run"
    make_run(run, 1)
    with runs.claimed(run, overwrite=True) as claim:
        assert len(os.listdir(folder)) == 2, "the old run is there until the new one stands"
        runs.write_config(run, {"seed": 2}, {})
        train(run, seed=2)
        claim.settle()
    assert seed_of(run) == 2
    assert os.listdir(folder) == ["run"]


def _precious(folder: Path, name: str) -> None:
    """``--overwrite`` of a folder that this library did not write."""
    place = folder / "thesis"
    place.mkdir()
    (place / name).write_text('{"settings": {}, "data": {}, "model_type": "bert"}')
    with refused(FileExistsError, "is not a run"), runs.claimed(place, overwrite=True):
        pass
    assert os.listdir(place) == [name]


def _removed_lock(folder: Path) -> None:
    """The folder is removed while it is locked."""
    run = folder / "run"
    run.mkdir()
    with locked(run):
        shutil.rmtree(run)
    run.mkdir()
    train(run)


def _no_flock(folder: Path) -> None:
    """A network file system without ``flock``: the record in the file decides."""
    (folder / LOCK).write_text(f"{flock.machine()} 1 token 2026-01-01T00:00:00")
    refusal = OSError(errno.ENOLCK, "No locks available")
    with mock.patch("fcntl.flock", side_effect=refusal):
        with refused(FolderInUseError, "process 1 on"):
            train(folder)
        (folder / LOCK).unlink()
        train(folder)


FAULTS: dict[str, Fault] = {
    **{
        f"a second training: {how}": partial(_in_use, how=how)
        for how in ("claimed", "resumed", "fit", "fit, resumed")
    },
    "a second thread": _thread,
    "a training of another machine": _elsewhere,
    "the machine restarted": _restarted,
    "a garbled lock": _garbled_lock,
    "no flock": _no_flock,
    "the folder of a lock is removed": _removed_lock,
    **{
        f"another run's checkpoints: {change}": partial(_another_run, change=change)
        for change in ("model", "data", "length")
    },
    "twenty starts in one second": _same_second,
    "a folder that is taken": _taken,
    "fails before its first checkpoint": partial(_fails_early, overwrite=False),
    "fails before it replaces a run": partial(_fails_early, overwrite=True),
    "killed before its first checkpoint": partial(_killed_start, overwrite=False),
    "killed before it replaces a run": partial(_killed_start, overwrite=True),
    "a run is replaced": _replaced,
    **{
        f"overwriting a folder with {name}": partial(_precious, name=name)
        for name in ("thesis.tex", "config.json", "history.csv", "checkpoint.ckpt")
    },
}
