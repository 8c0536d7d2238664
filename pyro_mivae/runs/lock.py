"""Locks on folders: one process at a time trains in one, and others learn who that is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mivae.runs.files import is_alive
from pyro_mivae.runs.flock import (
    Lock,
    NoFlockError,
    acquire,
    machine,
    new_token,
    owner_of,
    read_record,
    try_flock,
    write_record,
)

LOCK = ".training.lock"
"""Name of the lock's file in a folder; it is there while a process trains in it."""
TRIES = 3
"""Looks at a lock before it counts as held: another process may only look at it, too."""

# Folders that this process has locked, by the lock's file: process, thread.
_held: dict[Path, tuple[int, int]] = {}


class FolderInUseError(RuntimeError):
    """Another training has the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of an existing folder; within a thread it may be taken again.

    The lock of a process that is gone is taken over, except that of another machine where the file
    system does not carry ``flock``.

    Raises:
        FolderInUseError: If another process or thread holds it; the error names the owner.
        OSError: If the folder can't be written to.
    """
    path = folder.resolve() / LOCK
    own = (os.getpid(), threading.get_ident())
    if _held.get(path) == own and path.exists():
        yield
        return
    lock = _lock_folder(path, folder)
    _held[path] = own
    try:
        yield
    finally:
        _held.pop(path, None)
        lock.release(remove=True)


def check_unlocked(folder: Path) -> None:
    """Raises a :class:`FolderInUseError` if another process or thread trains in a folder."""
    path = folder.resolve() / LOCK
    if _held.get(path) == (os.getpid(), threading.get_ident()):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        free = try_flock(descriptor, path)
    except NoFlockError:
        free = not _is_living(read_record(path)[0])
    finally:
        os.close(descriptor)
    if not free or _is_elsewhere(read_record(path)[0]):
        raise FolderInUseError(_in_use(folder))


def _lock_folder(path: Path, folder: Path) -> Lock:
    for number in range(TRIES):
        record = read_record(path)
        # A machine of this name that was started anew: what it had is dead.
        dead = None if _is_elsewhere(record[0]) else record
        try:
            lock = acquire(path, dead=dead)
        except NoFlockError:
            lock = _acquire_by_record(path)
        if lock is not None:
            return lock
        time.sleep(0.05 if number + 1 < TRIES else 0.0)
    raise FolderInUseError(_in_use(folder))


def _acquire_by_record(path: Path) -> Lock | None:
    """The lock where there is no ``flock``: the first to make the file has it."""
    if _is_living(read_record(path)[0]):
        return None
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    token = new_token()
    write_record(descriptor, token)
    return Lock(path, descriptor, token)


def _is_elsewhere(record: str) -> bool:
    """Whether a record is of a machine of another name and another start than this one."""
    if not record:
        return False
    name, _, boot = record.split()[0].partition("/")
    own, _, ours = machine().partition("/")
    return name != own and (boot != ours or boot == "-")


def _is_living(record: str) -> bool:
    """Whether the owner in a record may be there, as far as can be seen from here."""
    words = record.split()
    if not words or _is_elsewhere(record):
        return bool(words)
    same = words[0] == machine() and words[1:]
    return bool(same) and (not words[1].isdigit() or is_alive(int(words[1])))


def _in_use(folder: Path) -> str:
    return (
        f"{folder} is in use by a training ({owner_of(folder / LOCK)}): wait for it, stop it, or "
        f"take another folder. If that process is gone, delete {folder / LOCK}"
    )
