"""The end of a training whose numbers are not finite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.checkpoints import has_checkpoint


def not_finite(reason: str, folder: Path | None) -> NonFiniteError:
    """Makes the error that ends a training.

    Args:
        reason: What is not finite, and when.
        folder: Folder of the training's checkpoints; None where there is none.
    """
    kept = f"; the last good checkpoint is in {folder}" if folder and has_checkpoint(folder) else ""
    return NonFiniteError(
        f"{reason}: the training stops{kept}. Look for NaN in the data, or try a smaller "
        "learning rate, a smaller mi_weight or gradient clipping"
    )


def require_finite(
    parameters: Iterable[tuple[str, Tensor]], step: int, folder: Path | None
) -> None:
    """Raises a :class:`NonFiniteError` unless all parameters are finite: never save others."""
    for name, parameter in parameters:
        if not bool(torch.isfinite(parameter).all()):
            raise not_finite(f"the parameter '{name}' is not finite after step {step}", folder)
