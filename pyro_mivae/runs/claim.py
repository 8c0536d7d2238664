"""Claims on run folders: a new one, or one in the place of a run, which is lost only at the end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyro_mivae.runs.files import make_folder, remove_leftovers, write_error
from pyro_mivae.runs.flock import one_at_a_time
from pyro_mivae.runs.folder import CONFIG, HISTORY, MEASURED, METRICS, is_run, read_json
from pyro_mivae.runs.lock import LOCK, check_unlocked, locked

logger = logging.getLogger(__name__)


def new_folder(path: Path) -> Path:
    """Makes a folder that was not there: `path`, or the first free of path-2, path-3, ..."""
    make_folder(path.parent)
    folder, number = path, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}-{number}")
        except OSError as error:
            raise write_error(folder, error) from error
        else:
            return folder


class Claim:
    """A folder that a run has for itself.

    Args:
        folder: New folder of the run.
        aside: Run that was in its place, renamed, if there is one.

    Attributes:
        kept: Whether the folder is still the new run's, which one that ends early gives back.
    """

    def __init__(self, folder: Path, aside: Path | None) -> None:
        self.folder, self._aside = folder, aside
        self.kept = True

    def settle(self) -> None:
        """Deletes the run that was in the folder's place: the new one has started well."""
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            if self._aside.exists():
                logger.warning("%s, which was replaced, can't be deleted: delete it", self._aside)
            self._aside = None

    def _finish(self) -> None:
        """Settles, or undoes the claim if the run left nothing to go on with."""
        if not _is_unfinished(self.folder):
            self.settle()
            return
        self.kept = False
        # An error that ends the run, as of a disk that was removed, is not hidden by another one.
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._aside is not None and not self.folder.exists():
            with suppress(OSError):
                self._aside.rename(self.folder)


@contextmanager
def claimed(folder: Path, *, overwrite: bool = False) -> Iterator[Claim]:
    """Makes and locks an empty run folder; one that a run left before any result is taken anew.

    A run that ends with nothing to go on with leaves no folder, and with `overwrite` the run that
    was there before.

    Args:
        folder: Path of the folder; parents are made too.
        overwrite: Whether to replace a run that the folder holds, once :meth:`Claim.settle` says
            that the new one has started well.

    Raises:
        FileExistsError: If the folder exists and holds a run, and `overwrite` is not set, or the
            folder is not a run.
        FolderInUseError: If a training has it.
    """
    make_folder(folder.parent)
    with ExitStack() as stack:
        with one_at_a_time(folder.parent):
            aside = _set_aside(folder, overwrite=overwrite)
            make_folder(folder)
            stack.enter_context(locked(folder))
        for name in (CONFIG, HISTORY):
            (folder / name).unlink(missing_ok=True)
        remove_leftovers(folder)
        claim = Claim(folder, aside)
        try:
            yield claim
        finally:
            claim._finish()


@contextmanager
def resumed(folder: Path) -> Iterator[None]:
    """Locks the folder of a run that goes on, and removes what killed processes left.

    Raises:
        FileNotFoundError: If `folder` is not a run.
        FolderInUseError: If a training has it.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is not a run: it has no {CONFIG}")
    with locked(folder):
        remove_leftovers(folder)
        if not _is_unfinished(folder):
            shutil.rmtree(_aside(folder), ignore_errors=True)
        yield


def set_measurements_aside(folder: Path, step: int) -> Path | None:
    """Moves what was measured and drawn of a run into a folder of its own, as training goes on.

    Args:
        folder: Folder of the run, which is locked.
        step: Step that was measured, where the measurements do not say it.

    Returns:
        The folder, ``measured-at-STEP`` in that of the run; None where nothing was measured.
    """
    present = [name for name in (METRICS, *MEASURED) if (folder / name).exists()]
    if not present:
        return None
    with suppress(OSError, ValueError):
        step = read_json(folder / METRICS, "Go on without it").get("step", step)
    aside = new_folder(folder / f"measured-at-{step}")
    for name in present:  # the metrics first: without them the run is not finished
        (folder / name).rename(aside / name)
    return aside


def _set_aside(folder: Path, *, overwrite: bool) -> Path | None:
    """Renames the run that is to be replaced, if there is one, and returns where it is."""
    if folder.exists():
        check_unlocked(folder)
    aside = _aside(folder)
    if aside.is_dir():  # a claim was killed
        if _is_unfinished(folder):
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        else:
            shutil.rmtree(aside)
    if _is_unfinished(folder):
        return None
    if not is_run(folder):
        raise FileExistsError(
            f"{folder} exists and is not a run (it has no {CONFIG} of this library): it is left "
            "alone"
        )
    if not overwrite:
        raise FileExistsError(f"{folder} exists and holds a run")
    folder.rename(aside)
    return aside


def _aside(folder: Path) -> Path:
    """Where a run waits until the one that replaces it has started well."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.replaced")


def _is_unfinished(folder: Path) -> bool:
    """Whether a folder has nothing but what a run writes before its first checkpoint."""
    if not folder.is_dir():
        return not folder.exists()
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
    return names <= {LOCK} or (names <= {CONFIG, HISTORY, LOCK} and is_run(folder))
