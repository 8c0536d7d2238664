"""Plates along which the weights depend on each other, whatever the plates say.

A plate says that what is in it is independent, and Pyro does not look. A model may sum a latent
over a plate of time (``drift.cumsum(-1)``, as ``pyro.contrib.forecast`` does), or mix that of all
data by a matrix. The weight of a cell is then one of other cells' draws, too, and the cell is no
datum of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.isolation import forked_random
from pyro_mivae.traces.importance import Cells
from pyro_mivae.traces.rerun import latent_values

logger = logging.getLogger(__name__)

Run = tuple[Any, Any]
"""Traces of model and guide."""

Weigh = Callable[[Mapping[str, Tensor]], Tensor]
"""Computes the log-weights of the cells at values of the latent sites."""

REDRAWS = 50
"""Further draws at most: one of a discrete site may be the old one."""

_ENOUGH = 8
"""Draws of a site that differ between two values, by which a dependence is seen."""


def dependent_plates(weigh: Weigh, cells: Cells, draw: Iterator[Run]) -> frozenset[str]:
    """Names the plates along which draws in a cell change the weight of another.

    Draws of two runs are put together along a plate: the weight of a cell has to be that of the
    run that it has its draws from. Where both have the same, as discrete sites may, the second
    takes those of further runs.

    Args:
        weigh: Computes the log-weights of the cells at values of the latent sites.
        cells: The cells.
        draw: A generator of runs of the pair, on the same data; it is closed afterwards.

    Returns:
        The names; none where foreign code can't be run so.
    """
    try:
        with closing(draw):  # type: ignore[type-var]
            return _dependent(weigh, cells, next(draw), next(draw), islice(draw, REDRAWS))
    except Exception as error:  # foreign code, or tensors without values
        logger.debug("could not look whether cells depend on each other: %s", error)
        return frozenset()


def _dependent(
    weigh: Weigh, cells: Cells, one: Run, other: Run, further: Iterator[Run]
) -> frozenset[str]:
    values = [_values(run) for run in (one, other)]
    both = [name for name in values[0] if name in values[1]]  # x' is latent where it was drawn
    values = [{name: each[name] for name in both} for each in values]
    nodes = {**one[0].nodes, **one[1].nodes}
    device = next(iter(values[0].values())).device
    event_dims = {name: nodes[name]["fn"].event_dim for name in both}
    _separate(values[0], values[1], event_dims, further)

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


def _values(run: Run) -> dict[str, Tensor]:
    return {**latent_values(run[0]), **latent_values(run[1])}


def _separate(
    one: Mapping[str, Tensor],
    other: dict[str, Tensor],
    event_dims: Mapping[str, int],
    further: Iterator[Run],
) -> None:
    """Puts draws of further runs in the place of those that are the same in both."""

    def alike() -> bool:
        """Whether a site has few draws that differ."""
        return any(
            bool(same.any()) and int((~same).sum()) < _ENOUGH
            for same in (same_draws(one[name], other[name], event_dims[name]) for name in one)
        )

    while alike():
        run = next(further, None)
        if run is None:
            return
        for name, new in _values(run).items():
            if name in other and other[name].shape == new.shape:
                same = same_draws(one[name], other[name], event_dims[name])
                other[name] = torch.where(same, new, other[name])


def same_draws(one: Tensor, other: Tensor, event_dim: int) -> Tensor:
    """Says which draws, events as a whole, are the same in two values.

    Args:
        one: The first value.
        other: The second.
        event_dim: Number of dimensions of an event.

    Returns:
        Mask whose shape has 1 in the place of the event.
    """
    same = one == other
    same = same.reshape(*same.shape[: same.dim() - event_dim], -1).all(-1)
    return same.reshape(*same.shape, *(1,) * event_dim)


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
