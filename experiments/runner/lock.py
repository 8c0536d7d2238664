"""A lock on a run, so that of all processes that share a study's folder one at most runs it.

Two layers. ``flock`` decides between processes of one machine, and of several where the file
system carries it to them. The process of the run inherits the descriptor, so that the kernel holds
the lock until *both* are gone: whoever is killed, the lock of a run that goes on is never free and
that of a dead one never stale. Where ``flock`` stays on its machine (a matter of how Lustre or
BeeGFS is mounted), the record in the file decides: host, pid and a token, and its owner touches the
file every few seconds. A record of another machine is taken over once the file has not been touched
for :data:`STALE` seconds of *our* clock: no two clocks are compared.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BEAT, STALE, SETTLE, POLL = 5.0, 120.0, 2.0, 0.2
"""Seconds: between two touches, until a silent owner counts as dead, until a takeover is read back
(for two that take over at once), and between two looks at what is waited for."""
SIZE = 256


def _host() -> str:
    try:  # two machines may have one name
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "-"
    return f"{socket.gethostname()}/{boot}"


@dataclass
class Lock:
    """A lock that is held; see :func:`acquire`."""

    path: Path
    descriptor: int
    """File descriptor, for the process of the run to inherit."""
    token: str
    _beaten: float = field(default_factory=time.monotonic)

    def beat(self) -> bool:
        """Touches the file, if it is time to; returns whether the lock is still ours."""
        if time.monotonic() - self._beaten < BEAT:
            return True
        self._beaten = time.monotonic()
        if _read(self.path)[0] != self.token:
            return False
        os.utime(self.path)
        return True

    def release(self) -> None:
        """Frees the lock; the file stays, so that there is only ever one to lock."""
        if _read(self.path)[0] == self.token:
            _write(self.descriptor, "")
        # Never LOCK_UN: that would free it for a process of the run that is still there, too.
        os.close(self.descriptor)


def acquire(path: Path, dead: tuple[str, int] | None = None) -> Lock | None:
    """Takes the lock, or returns None where another process has it.

    Args:
        path: File of the lock, made if it is not there.
        dead: Record that :func:`wait` read of an owner on another machine that counts as dead.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise OSError(
            f"{path} can't be locked ({error}): expected a file system with flock, found one "
            "without; put --out on another, or mount it with flock"
        ) from error
    record = _read(path)
    host = _host()
    foreign = bool(record[0]) and record[0].split()[0] != host
    if foreign and record != dead:
        os.close(descriptor)
        return None
    token = f"{host} {os.getpid()} {uuid.uuid4().hex}"
    _write(descriptor, token)
    if foreign:
        time.sleep(SETTLE)
        if _read(path)[0] != token:
            os.close(descriptor)
            return None
    return Lock(path, descriptor, token)


def wait(path: Path, stopped: Callable[[], bool]) -> Lock | None:
    """Takes the lock as soon as it is free or its owner is dead; None if stopped before."""
    seen, since = None, time.monotonic()
    while not stopped():
        silent = time.monotonic() - since > STALE
        if lock := acquire(path, dead=seen if silent else None):
            return lock
        now = _read(path)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(POLL)
    return None


def _read(path: Path) -> tuple[str, int]:
    """The record ("" for none) and when the file was touched."""
    with path.open("rb") as file:  # opened anew: NFS looks at the server then
        text = file.read(SIZE).decode("utf-8", errors="replace").strip()
        return text, os.fstat(file.fileno()).st_mtime_ns


def _write(descriptor: int, record: str) -> None:
    # One write of one length: a reader sees the old record or the new one.
    os.pwrite(descriptor, record.encode().ljust(SIZE), 0)
