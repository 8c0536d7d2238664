"""The checkpoints from which the copies of a training go on together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyro_mivae.training.checkpoints import CheckpointError, load_checkpoint, load_step


def common_checkpoints(folders: Mapping[int, Path]) -> Callable[[Path], dict[str, Any]]:
    """Finds the last step of which all seeds have a good checkpoint.

    A process that was killed may have written the checkpoints of some seeds and not of others;
    each folder has that before, too.

    Args:
        folders: Folder of each seed.

    Returns:
        A function that reads the checkpoint of that step from a folder.

    Raises:
        CheckpointError: If a folder has none, or there is no such step.
    """
    steps = {seed: int(load_checkpoint(folder)["step"]) for seed, folder in folders.items()}
    common = min(steps.values())
    others = {
        seed: step
        for seed, step in steps.items()
        if step != common and load_step(folders[seed], common) is None
    }
    if others:
        at = [str(seed) for seed, step in steps.items() if step == common]
        ahead = ", ".join(f"{seed} (step {step})" for seed, step in others.items())
        raise CheckpointError(
            f"the seeds can't go on together: expected checkpoints of one step, found seed "
            f"{', '.join(at)} at step {common}, where {ahead} have none any more. A copy that was "
            "taken out, or that a callback has ended, stays behind: leave it out of seeds"
        )

    def load(folder: Path) -> dict[str, Any]:
        state = load_step(folder, common)
        if state is None:
            raise CheckpointError(f"the checkpoint of step {common} in {folder} is gone")
        return state

    return load
