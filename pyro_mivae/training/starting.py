"""The start of a training in a folder: its lock, and what the folder may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from pyro_mivae.checks import (
    Check,
    check_all,
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_seed,
    optional,
    shown,
)
from pyro_mivae.infer import CompiledELBO
from pyro_mivae.runs.files import make_folder, remove_leftovers
from pyro_mivae.runs.history import History
from pyro_mivae.runs.lock import FolderInUseError, locked
from pyro_mivae.training.checkpoints import (
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
    set_damaged_aside,
)
from pyro_mivae.training.loop import Loop
from pyro_mivae.training.record import check_same_data, note_machine, whose

SETTINGS: dict[str, Check] = {
    **dict.fromkeys(("steps", "log_every", "checkpoint_every"), check_count),
    **dict.fromkeys(("devices", "num_nodes", "discriminator_steps"), check_count),
    "batch_size": optional(check_count),
    "seed": check_seed,
    **dict.fromkeys(("drop_last", "resume", "progress"), check_flag),
    "prepare": optional(check_callable),
}
"""What arguments of :func:`~pyro_mivae.training.fit` may be."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Looks at the arguments of :func:`~pyro_mivae.training.fit` before anything is made.

    Raises:
        ValueError: If one is out of its range, or of another type.
    """
    check_all(settings, SETTINGS)
    callbacks = settings["callbacks"]
    if not isinstance(callbacks, Iterable):
        raise ValueError(f"callbacks must be a sequence of callables, found {shown(callbacks)}")
    for callback in callbacks:
        check_callable("callbacks", callback)
    if not isinstance(settings["compile"], bool | CompiledELBO):
        check_choice("compile", settings["compile"], (False, True, "auto", "replay"))
    folder = settings["folder"]
    if folder is not None and not isinstance(folder, str | Path):
        raise ValueError(f"folder must be a path or None, found {shown(folder)}")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"folder must be that of a folder, found the file {folder}")


@contextmanager
def holding(fabric: Fabric, folder: Path | None) -> Iterator[None]:
    """Holds the lock of a training's folder, which is made; of several processes rank 0 does.

    Raises:
        FolderInUseError: In all processes, if another training has it.
    """
    with ExitStack() as stack:
        if folder is not None:

            def lock() -> None:
                make_folder(folder)
                stack.enter_context(locked(folder))
                remove_leftovers(folder)

            _on_rank_0(fabric, lock)
        yield


def begin(
    loop: Loop,
    folder: Path,
    steps: int,
    *,
    resume: bool,
    load: Callable[[Path], dict[str, Any]] = load_checkpoint,
) -> None:
    """Restores a training from its folder, or looks whether a new one may write to it.

    Args:
        loop: New training.
        folder: Folder of its checkpoints, locked.
        steps: Steps to have done at the end.
        resume: Whether to go on from the checkpoint.
        load: Reads the checkpoint of a folder.

    Raises:
        CheckpointError: If the checkpoint can't be gone on with, or is another run's.
    """
    note_machine(loop.record, loop.fabric)
    if not resume:
        _on_rank_0(loop.fabric, lambda: _check_free(loop, folder))
        return
    state = load(folder)
    if state["step"] > steps:
        raise CheckpointError(
            f"steps={steps}, but the training in {folder} has done {state['step']} already: steps "
            f"are those in all; expected at least {state['step']}"
        )
    loop.restore(state)
    if steps > loop.step:
        _forget_part_of_a_row(loop)
    loop.fabric.barrier()  # all have read it
    _on_rank_0(loop.fabric, lambda: set_damaged_aside(folder))


def _forget_part_of_a_row(loop: Loop) -> None:
    """Drops the rows of a last step that more steps follow: its terms join the next row."""
    if loop.step % loop.log_every:
        loop.history = History([row for row in loop.history.rows if row["step"] != loop.step])


def _check_free(loop: Loop, folder: Path) -> None:
    if not has_checkpoint(folder):
        return
    state = load_checkpoint(folder)
    record = state.get("record", {})
    try:
        loop.check_same_pair(state)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} holds the checkpoints of another run ({whose(record)}): {error}"
        ) from error
    check_same_data(record, loop.record, folder)
    set_damaged_aside(folder)


def _on_rank_0(fabric: Fabric, do: Callable[[], object]) -> None:
    """Runs a function on rank 0; an error of it is raised in all processes."""
    error: Exception | None = None
    kinds: dict[str, type[Exception]] = {
        kind.__name__: kind for kind in (CheckpointError, FolderInUseError, OSError)
    }
    if fabric.is_global_zero:
        try:
            do()
        except tuple(kinds.values()) as raised:
            error = raised
    if fabric.world_size > 1:
        name = next((n for n, kind in kinds.items() if isinstance(error, kind)), "")
        name, words = fabric.broadcast((name, str(error)))
        if name and error is None:
            raise kinds[name](words)
    if error is not None:
        raise error
