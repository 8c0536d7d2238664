"""Arrays that take minutes to make, kept in files that say when they are damaged."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mivae.runs.files import atomic_path

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


def default_folder() -> Path:
    """Returns ``~/.cache/pyro_mivae``, or the same under ``XDG_CACHE_HOME``."""
    return Path(f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/pyro_mivae").expanduser()


def fingerprint(*parts: Any) -> str:
    """Returns the SHA-256 of arrays (type, shape and bytes) and other objects (their ``repr``)."""
    digest = hashlib.sha256()
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        digest.update(repr((part.dtype.str, part.shape) if is_array else part).encode())
        digest.update(np.ascontiguousarray(part).tobytes() if is_array else b"\0")
    return digest.hexdigest()


def cached(
    kind: str, key: str, make: Callable[[], Arrays], *, folder: str | Path | None = None
) -> Arrays:
    """Reads arrays from the cache, or makes them and keeps them there.

    A file holds a line with the SHA-256 of its remainder, then NumPy's ``.npz``. It is written
    atomically. A damaged file is made anew after a warning, because the cache holds no originals.
    A folder that can't be written to gives a warning, and the next call makes the arrays again.

    Args:
        kind: Kind of the arrays, the first part of the file's name.
        key: :func:`fingerprint` of everything that the arrays depend on, with the code's version.
        make: Function that makes the arrays.
        folder: Folder of the cache; by default :func:`default_folder`.
    """
    place = Path(folder).expanduser() if folder else default_folder()
    path = place / f"{kind}-{key[:32]}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError) as error:
            logger.warning("making %s anew: %s", path, error)
    arrays = make()
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write(path, arrays)
    except OSError as error:
        logger.warning("%s can't be kept for the next time: %s", path, error)
    return arrays


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    stream = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(stream, **named)
    body = stream.getvalue()
    with atomic_path(path) as temporary:
        temporary.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def _read(path: Path) -> Arrays:
    head, _, body = path.read_bytes().partition(b"\n")
    if (digest := hashlib.sha256(body).hexdigest().encode()) != head:
        raise ValueError(f"expected SHA-256 {head[:64]!r}, found {digest!r} ({len(body)} bytes)")
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
