"""Folders of trainings: locked, refused to another run, resumed with the same settings only."""

import os
import platform
import subprocess
import sys
import threading

import pytest
import torch
from test_checkpoints import Model, X, train

from pyro_mivae.runs import flock
from pyro_mivae.runs.lock import LOCK, FolderInUseError, check_unlocked, locked
from pyro_mivae.training.checkpoints import NAME, CheckpointError, load_checkpoint

OTHER = """
import sys, time
from pathlib import Path
from pyro_mivae.runs import flock
from pyro_mivae.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has the folder."""
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_process_trains_in_is_refused(tmp_path, other, resume):
    words = rf"in use .*process {other.pid} on {platform.node()}, since \d{{4}}-"
    with pytest.raises(FolderInUseError, match=words):
        train(tmp_path, resume=resume)
    with pytest.raises(FolderInUseError, match=words):
        check_unlocked(tmp_path)
    assert os.listdir(tmp_path) == [LOCK]
    other.kill()  # not reaped yet: a zombie holds nothing
    while True:
        try:
            check_unlocked(tmp_path)
            break
        except FolderInUseError:
            pass
    train(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint-previous.ckpt",
        "checkpoint.ckpt",
    ]


def test_the_lock_of_another_machine_is_kept_and_one_of_this_machine_is_followed(tmp_path):
    path = tmp_path / LOCK
    path.write_text("elsewhere/boot 1 token 2026-01-01T10:00:00")
    words = r"process 1 on elsewhere, since 2026-01-01 10:00:00.*delete"
    with pytest.raises(FolderInUseError, match=words):
        train(tmp_path)
    path.write_text(f"{flock.machine()} {os.getppid()} token 2026-01-01T10:00:00")
    train(tmp_path)


def test_a_machine_that_was_started_anew_has_its_folder_again(tmp_path, monkeypatch):
    monkeypatch.setattr(flock, "SETTLE", 0.0)
    (tmp_path / LOCK).write_text(f"{platform.node()}/before 1 token 2026-01-01T10:00:00")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[0] == flock.machine()


def test_a_thread_takes_its_lock_again_and_another_thread_does_not(tmp_path):
    errors = []

    def try_it():
        try:
            with locked(tmp_path):
                pass
        except FolderInUseError as error:
            errors.append(error)

    with locked(tmp_path):
        train(tmp_path)
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert (tmp_path / LOCK).exists()
    assert len(errors) == 1
    assert not (tmp_path / LOCK).exists()


def test_a_failed_training_frees_its_folder(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError):
        train(tmp_path, seed=3, resume=True)
    assert not (tmp_path / LOCK).exists()


def test_another_runs_checkpoints_are_refused_and_kept(tmp_path):
    train(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    owner = rf"another run \(process {os.getpid()} on {platform.node()}, since "
    with pytest.raises(CheckpointError, match=rf"{owner}.*model\.shift"):
        train(tmp_path, Model(width=3))
    with pytest.raises(CheckpointError, match=rf"{owner}.*checksum of the data"):
        train(tmp_path, data=X + 1)
    with pytest.raises(CheckpointError, match=rf"{owner}.*25 data there, 24 now"):
        train(tmp_path, data=X[1:])
    assert (tmp_path / NAME).read_bytes() == before
    train(tmp_path, steps=3)
    assert load_checkpoint(tmp_path)["step"] == 3


def adam(learning_rate):
    return lambda parameters: torch.optim.Adam(parameters, lr=learning_rate)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": X + 1}, "checksum of the data"),
        ({"data": X[1:]}, "25 data there, 24 now"),
        ({"data": X.double()}, "checksum of the data"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"batch_size": 5}, "batch_size: 10 there, 5 now"),
        ({"batch_size": None}, "batch_size: 10 there, None now"),
        ({"drop_last": True}, "steps_per_epoch: 3 there, 2 now"),
        ({"optimizer": adam(0.1)}, "learning rate of Adam: 0.001 there, 0.1 now"),
        ({"optimizer": lambda p: torch.optim.AdamW(p, lr=1e-3)}, "Adam there, AdamW now"),
        ({"steps": 5}, "steps=5, but .* has done 6 already"),
    ],
)
def test_resuming_with_something_else_is_refused(tmp_path, changed, words):
    train(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(CheckpointError, match=words):
        train(tmp_path, **{"steps": 8, "resume": True, **changed})
    assert (tmp_path / NAME).read_bytes() == before
    train(tmp_path, steps=8, resume=True, optimizer=adam(1e-3))


def test_another_number_of_threads_is_said(tmp_path, caplog):
    train(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        train(tmp_path, steps=8, resume=True)
    finally:
        torch.set_num_threads(before)
    assert f"of {before} threads, this training of {before + 1}" in caplog.text
