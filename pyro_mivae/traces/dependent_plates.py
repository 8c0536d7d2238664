"""Plates along which the weights depend on each other, whatever the plates say.

A plate says that what is in it is independent, and Pyro does not look. A model may sum a latent
over a plate of time (``drift.cumsum(-1)``, as ``pyro.contrib.forecast`` does), or mix that of all
data by a matrix. The weight of a cell is then one of other cells' draws, too, and the cell is no
datum of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.isolation import forked_random
from pyro_mivae.traces.importance import Cells
from pyro_mivae.traces.rerun import latent_values

logger = logging.getLogger(__name__)

Run = tuple[Any, Any]
"""Traces of model and guide."""


def dependent_plates(
    weigh: Callable[[Mapping[str, Tensor]], Tensor], cells: Cells, draw: Callable[[], list[Run]]
) -> frozenset[str]:
    """Names the plates along which draws in a cell change the weight of another.

    Draws of two runs are put together along a plate: the weight of a cell has to be that of the
    run that it has its draws from.

    Args:
        weigh: Computes the log-weights of the cells at values of the latent sites.
        cells: The cells.
        draw: Makes two runs of the pair, on the same data.

    Returns:
        The names; none where foreign code can't be run so.
    """
    try:
        return _dependent(weigh, cells, *draw())
    except Exception as error:  # foreign code, or tensors without values
        logger.debug("could not look whether cells depend on each other: %s", error)
        return frozenset()


def _dependent(
    weigh: Callable[[Mapping[str, Tensor]], Tensor], cells: Cells, one: Run, other: Run
) -> frozenset[str]:
    values = [{**latent_values(model), **latent_values(guide)} for model, guide in (one, other)]
    both = [name for name in values[0] if name in values[1]]  # x' is latent where it was drawn
    values = [{name: each[name] for name in both} for each in values]
    nodes = {**one[0].nodes, **one[1].nodes}
    device = next(iter(values[0].values())).device

    def weights(at: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad(), forked_random(device):  # the same noise in each run
            return weigh(at)

    def mixed(pick: Tensor, dim: int) -> dict[str, Tensor]:
        return {
            name: choose(pick, value, values[1][name], dim - nodes[name]["fn"].event_dim)
            for name, value in values[0].items()
        }

    first, second = map(weights, values)
    return frozenset(
        frame.name
        for frame in cells.frames
        for pick in patterns(first.shape[frame.dim], device)
        if not _close(weights(mixed(pick, frame.dim)), choose(pick, first, second, frame.dim))
    )


def patterns(size: int, device: torch.device) -> list[Tensor]:
    """Says which cells along a plate are to be those of one run: neighbours, and halves, differ.

    Args:
        size: Size of the plate.
        device: Device of the masks.

    Returns:
        Masks of shape ``(size,)``; none for a plate of one cell.
    """
    places = torch.arange(size, device=device)
    if size < 2:
        return []
    return [places % 2 == 0, places < size // 2] if size > 2 else [places == 0]


def choose(pick: Tensor, one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Puts two values together along a dimension.

    Args:
        pick: Where to take the first, shape ``(size,)``.
        one: The first value; taken as a whole where it has no such dimension.
        other: The second.
        dim: The dimension, from the right.
    """
    if one.dim() < -dim or one.shape[dim] != len(pick):
        return one  # the same along the plate
    return torch.where(pick.reshape((-1,) + (1,) * (-1 - dim)), one, other)


def _close(one: Tensor, other: Tensor) -> bool:
    half = one.dtype in (torch.float16, torch.bfloat16)
    return torch.allclose(one, other, rtol=1e-2 if half else 1e-5, atol=1e-2, equal_nan=True)
