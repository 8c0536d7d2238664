"""Locks on files: held once, named, followed when dead, taken over from a silent machine."""

import errno
import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("fcntl", reason="locks need POSIX")

from pyro_mivae.runs import flock
from pyro_mivae.runs.lock import LOCK, FolderInUseError, check_unlocked, locked


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "run.lock"
    lock = flock.acquire(path)
    assert flock.acquire(path) is None
    assert lock.token.split()[1] == str(os.getpid())
    lock.release()
    again = flock.acquire(path)
    assert again is not None
    again.release()
    stopped = iter([False, True])
    held = flock.acquire(path)
    assert flock.wait(path, lambda: next(stopped)) is None
    held.release()


def test_a_dead_owner_on_this_machine_is_followed_at_once(tmp_path):
    path = tmp_path / "run.lock"
    code = (
        "import os, sys; from pathlib import Path; from pyro_mivae.runs.flock import acquire\n"
        "acquire(Path(sys.argv[1])); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False)
    assert path.read_text().strip()
    lock = flock.acquire(path)
    assert lock is not None
    lock.release()


@pytest.mark.slow
def test_a_silent_owner_elsewhere_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(flock, "STALE", 1.0)
    monkeypatch.setattr(flock, "SETTLE", 0.1)
    monkeypatch.setattr(flock, "POLL", 0.05)
    path = tmp_path / "run.lock"
    path.write_text("elsewhere/1 42 abc".ljust(flock.SIZE))
    assert flock.acquire(path) is None
    until_beats_end = time.monotonic() + 1.5

    def beating():  # the owner is alive, for a while
        if time.monotonic() < until_beats_end:
            os.utime(path)
        return time.monotonic() > until_beats_end + 20  # this took too long

    lock = flock.wait(path, beating)
    assert time.monotonic() > until_beats_end + 0.5
    assert path.read_text().strip() == lock.token
    lock.release()
    assert not path.read_text().strip()


def test_a_lock_names_its_owner(tmp_path):
    path = tmp_path / "run.lock"
    lock = flock.acquire(path)
    now = time.strftime("%Y-%m-%d")
    name = os.uname().nodename
    assert flock.owner_of(path).startswith(f"process {os.getpid()} on {name}, since {now} ")
    lock.release()
    assert flock.owner_of(path) == "process ? on ?, since ?"


def test_a_child_that_goes_on_keeps_the_lock(tmp_path):
    path = tmp_path / "run.lock"
    lock = flock.acquire(path)
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock.descriptor,)) as child:
        lock.release()
        assert flock.acquire(path) is None
        child.communicate(b"\n")
    flock.acquire(path).release()


def test_a_file_that_its_owner_removes_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "run.lock"
    looks = []
    original = flock.try_flock

    def removed_in_between(descriptor, place):
        if not looks:
            path.unlink()
        looks.append(place)
        return original(descriptor, place)

    monkeypatch.setattr(flock, "try_flock", removed_in_between)
    lock = flock.acquire(path)
    assert len(looks) == 2
    monkeypatch.undo()
    assert flock.acquire(path) is None
    lock.release(remove=True)
    assert not path.exists()


@pytest.fixture
def no_flock(monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(flock.fcntl, "flock", refuse)


def test_a_file_system_without_flock(tmp_path, no_flock):
    with pytest.raises(flock.NoFlockError, match=r"No locks available.*mount it with flock"):
        flock.acquire(tmp_path / "run.lock")
    with locked(tmp_path):
        owner = (tmp_path / LOCK).read_text().split()
        assert owner[1] == str(os.getpid())
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize(
    ("process", "boot", "taken"), [("1", None, True), ("4194399", None, False), ("1", "b", True)]
)
def test_without_flock_the_record_decides(tmp_path, no_flock, process, boot, taken):
    host = flock.machine() if boot is None else f"elsewhere/{boot}"
    (tmp_path / LOCK).write_text(f"{host} {process} token 2026-01-01T00:00:00")
    if taken:
        words = rf"process {process} on .*, since 2026-01-01 00:00:00.*delete"
        with pytest.raises(FolderInUseError, match=words), locked(tmp_path):
            pass
        with pytest.raises(FolderInUseError, match=words):
            check_unlocked(tmp_path)
    else:
        check_unlocked(tmp_path)
        with locked(tmp_path):
            pass
