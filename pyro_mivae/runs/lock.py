"""A lock on a folder: one process at a time trains in it, and others learn who that is."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyro_mivae.runs.files import is_alive, process_stat

LOCK = ".training.lock"
"""Name of the lock's file in the folder; it is there while a process trains."""
UNREADABLE_AFTER = 60.0
"""Seconds after which a lock without an owner counts as that of a process killed while making it"""

# Folders that this process has locked, by the lock's file: process, thread.
_held: dict[Path, tuple[int, int]] = {}


class FolderInUseError(RuntimeError):
    """Another training has the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of an existing folder; within a thread it may be taken again.

    The lock of a process of this machine that is gone is taken over.

    Raises:
        FolderInUseError: If another process or thread holds it; the error names the owner.
    """
    path = folder.resolve() / LOCK
    own = (os.getpid(), threading.get_ident())
    if _held.get(path) == own and path.exists():
        yield
        return
    with _one_at_a_time(folder):
        _take(path, folder)
    _held[path] = own
    try:
        yield
    finally:
        if _held.pop(path, None) is not None:
            with suppress(OSError):  # the folder may be gone
                path.unlink()


def check_unlocked(folder: Path) -> None:
    """Raises a :class:`FolderInUseError` if a living process trains in a folder."""
    path = folder.resolve() / LOCK
    if _held.get(path) != (os.getpid(), threading.get_ident()) and (owner := _living(path)):
        raise FolderInUseError(_in_use(folder, owner))


def this_process() -> dict[str, Any]:
    """Describes this process as the owner of a folder."""
    stat = process_stat(os.getpid())
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "start": stat[1] if stat else "",
    }


def owner_words(owner: dict[str, Any]) -> str:
    """Names an owner: host, process, and since when."""
    host, process, since = (owner.get(key, "?") for key in ("host", "process", "since"))
    return f"process {process} on {host}, since {since}"


def _take(path: Path, folder: Path) -> None:
    if owner := _living(path):
        raise FolderInUseError(_in_use(folder, owner))
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # a process of another machine was faster
        raise FolderInUseError(_in_use(folder, _read(path))) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(this_process()))


def _living(path: Path) -> dict[str, Any]:
    """The owner of a lock, empty if there is none or it is gone from this machine."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return {}
    owner = _read(path)
    process = owner.get("process")
    if not isinstance(process, int):
        return {} if age > UNREADABLE_AFTER else {"host": "?"}
    if owner.get("host") != platform.node():
        return owner
    stat = process_stat(process)
    again = stat is not None and owner.get("start") not in ("", stat[1])  # its number is reused
    return {} if again or not is_alive(process) else owner


def _read(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _in_use(folder: Path, owner: dict[str, Any]) -> str:
    return (
        f"{folder} is in use by a training ({owner_words(owner)}): wait for it, stop it, or take "
        f"another folder. If that process is gone, delete {folder / LOCK}"
    )


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets the processes of this machine look at a lock one after the other."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no flock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
