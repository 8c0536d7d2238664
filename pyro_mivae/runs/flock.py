"""Locks on files: of all processes one has it, and the others learn who that is.

Two layers. ``flock`` decides between processes of one machine, and of several where the file
system carries it to them. A child may inherit the descriptor, so that the kernel holds the lock
until *both* are gone: whoever is killed, the lock of a child that goes on is never free and that of
a dead one never stale. Where ``flock`` stays on its machine (a matter of how Lustre or BeeGFS is
mounted), the record in the file decides: host, process, a token and the time. An owner may touch
the file every few seconds (:meth:`Lock.beat`). A record of another machine is taken over once the
file has not been touched for :data:`STALE` seconds of *our* clock: no two clocks are compared.
"""

from __future__ import annotations

import errno
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_mivae.runs.files import write_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT, STALE, SETTLE, POLL = 5.0, 120.0, 2.0, 0.2
"""Seconds: between two touches, until a silent owner counts as dead, until a takeover is read back
(for two that take over at once), and between two looks at what is waited for."""
SIZE = 256


class NoFlockError(OSError):
    """The file system has no ``flock``."""


@dataclass
class Lock:
    """A lock that is held; see :func:`acquire`."""

    path: Path
    descriptor: int
    """File descriptor, for a child to inherit."""
    token: str
    _beaten: float = field(default_factory=time.monotonic)

    def beat(self) -> bool:
        """Touches the file, if it is time to; returns whether the lock is still ours."""
        if time.monotonic() - self._beaten < BEAT:
            return True
        self._beaten = time.monotonic()
        if read_record(self.path)[0] != self.token:
            return False
        os.utime(self.path)
        return True

    def release(self, *, remove: bool = False) -> None:
        """Frees the lock.

        Args:
            remove: Whether to remove the file, which no child may have inherited; one that stays
                is the only one that there ever is to lock.
        """
        with suppress(OSError):  # the folder may be gone
            if read_record(self.path)[0] == self.token:
                if remove:
                    self.path.unlink()
                else:
                    write_record(self.descriptor, "")
        # Never LOCK_UN: that would free it for a child that is still there, too.
        os.close(self.descriptor)


def acquire(path: Path, dead: tuple[str, int] | None = None) -> Lock | None:
    """Takes the lock of a file, or returns None where another process has it.

    Args:
        path: File of the lock, made if it is not there.
        dead: Record, as of :func:`read_record`, of an owner on another machine that counts as dead.

    Raises:
        NoFlockError: If the file system can't lock.
        WriteError: If the disk is full, read-only or gone.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise write_error(path, error) from error
        try:
            free = try_flock(descriptor, path)
            if free and _is_at(descriptor, path):
                lock = _take_over(path, descriptor, dead)
                if lock is not None:
                    return lock
                free = False
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not free:
            return None
        # Its owner removed it between our two looks.


def wait(path: Path, stopped: Callable[[], bool]) -> Lock | None:
    """Takes the lock as soon as it is free or its owner is dead; None if stopped before."""
    seen, since = None, time.monotonic()
    while not stopped():
        silent = time.monotonic() - since > STALE
        if lock := acquire(path, dead=seen if silent else None):
            return lock
        now = read_record(path)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(POLL)
    return None


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets the processes of this machine do something in a folder one after the other."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no flock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def owner_words(owner: dict[str, Any]) -> str:
    """Names an owner: host, process, and since when."""
    host, process, since = (owner.get(key, "?") for key in ("host", "process", "since"))
    return f"process {process} on {host}, since {since}"


def this_process() -> dict[str, Any]:
    """Describes this process as the owner of a folder."""
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def owner_of(path: Path) -> str:
    """Names the owner of a lock's file, in words."""
    host, process, _, since = [*read_record(path)[0].split(), *"????"][:4]
    words = {"host": host.partition("/")[0], "process": process, "since": since.replace("T", " ")}
    return owner_words(words)


def read_record(path: Path) -> tuple[str, int]:
    """Returns the record of a lock ("" for none) and when its file was touched."""
    try:
        with path.open("rb") as file:  # opened anew: NFS looks at the server then
            text = file.read(SIZE).decode("utf-8", errors="replace").strip()
            return text, os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return "", 0


def _take_over(path: Path, descriptor: int, dead: tuple[str, int] | None) -> Lock | None:
    """Writes our record, unless one of another machine is there that is not known as dead."""
    record = read_record(path)
    foreign = bool(record[0]) and record[0].split()[0] != machine()
    if foreign and record != dead:
        return None
    token = new_token()
    try:
        write_record(descriptor, token)
    except OSError as error:
        raise write_error(path, error) from error
    if foreign:
        time.sleep(SETTLE)
        if read_record(path)[0] != token:
            return None
    return Lock(path, descriptor, token)


def try_flock(descriptor: int, path: Path) -> bool:
    """Locks an open file; returns whether it was free.

    Raises:
        NoFlockError: If the file system can't lock.
    """
    if fcntl is None:
        raise NoFlockError(f"{path} can't be locked: this system has no flock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoFlockError(
            f"{path} can't be locked ({error}): expected a file system with flock, found one "
            "without; take a folder on another, or mount it with flock"
        ) from error
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def new_token() -> str:
    """Makes the record of a new lock of this process."""
    return f"{machine()} {os.getpid()} {uuid.uuid4().hex} {time.strftime('%Y-%m-%dT%H:%M:%S')}"


def machine() -> str:
    """Names this machine and its start."""
    try:  # two machines may have one name
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "-"
    return f"{platform.node()}/{boot}"


def write_record(descriptor: int, record: str) -> None:
    """Writes the record of a lock that is held."""
    # One write of one length: a reader sees the old record or the new one.
    try:
        if os.pwrite(descriptor, record.encode().ljust(SIZE), 0) < SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(descriptor, 0)  # a part of a record would be that of a stranger
        raise
