"""The folder of a measurement's results: one process at a time, and nothing is replaced unasked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mivae.runs.lock import locked


@contextmanager
def results_folder(out: Path, result: str | None = None, overwrite: bool = False) -> Iterator[Path]:
    """Makes a folder and holds its lock; one that was made in vain is removed.

    Args:
        out: Folder of the results.
        result: File that is there when the results are; None where they may always be replaced.
        overwrite: Whether results that are there may be replaced.

    Raises:
        FileExistsError: If there are results already.
        FolderInUseError: If another process writes into the folder; the error names it.
    """
    if result is not None and (out / result).exists() and not overwrite:
        raise FileExistsError(f"{out} holds results: choose another --out or --overwrite them")
    new_folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            yield out
    finally:
        with suppress(OSError):  # it holds results
            for folder in new_folders:
                folder.rmdir()
