"""Atomic files: a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class WriteError(OSError):
    """A file can't be written: the disk is full, read-only or gone."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and moves it there at the end.

    On an exception `path` is left as it was. The folder must exist. The file and its folder are
    flushed to the disk. The temporary name holds the process, for :func:`remove_leftovers`.

    Raises:
        WriteError: If the disk is full, read-only or gone.
    """
    prefix = f".{path.name}.{_host()}-{os.getpid()}-"
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    except OSError as error:
        raise write_error(path, error) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp's files are private; what a run leaves is as readable as its folder.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):  # the disk may be gone
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Makes a folder with its parents, if it is not there.

    Raises:
        FileExistsError: If there is a file of this name.
        WriteError: If the disk is full, read-only or gone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise write_error(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk, so that a renamed file survives a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse it for folders
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> list[Path]:
    """Removes what killed processes left of :func:`atomic_path`, and returns the paths.

    A temporary file of a living process of this machine stays, and one of another machine stays
    for a day.
    """
    removed = []
    for path in folder.glob(".*.tmp"):
        parts = re.fullmatch(r"\..+\.([0-9a-f]{8})-(\d+)-\w{8}\.tmp", path.name)
        if parts is None:
            continue
        try:
            old = time.time() - path.stat().st_mtime > 86400
            if old or (parts[1] == _host() and not is_alive(int(parts[2]))):
                path.unlink()
                removed.append(path)
        except FileNotFoundError:
            pass  # its process was faster
    return removed


def is_alive(process: int) -> bool:
    """Tells whether a process of this machine runs; one that only waits to be reaped does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return (process_stat(process) or ("?", ""))[0] != "Z"


def process_stat(process: int) -> tuple[str, str] | None:
    """Returns the state and the start of a process of this machine, None without ``/proc``."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def write_error(path: Path, error: OSError) -> OSError:
    """Makes the error of a file that can't be written: one sentence that names it."""
    if isinstance(error, WriteError) or error.errno is None:
        return error
    wrapped = WriteError(
        f"{path} can't be written ({error.strerror}): make room on the disk, or take a folder that "
        "can be written to. What was there before is kept"
    )
    wrapped.errno = error.errno
    return wrapped


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
