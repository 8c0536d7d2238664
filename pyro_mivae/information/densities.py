"""Densities of a site on the data of a batch, of all its dimensions and of each."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transforms

from pyro_mivae.distributions.precision import at_least_single
from pyro_mivae.traces.scoring import log_prob as score
from pyro_mivae.traces.sites import (
    dimension_shape,
    is_one_hot,
    marginals,
    unmasked,
    unwrap,
)


class Density:
    """The densities of one site on the data of a batch.

    At least in single precision, without scales and masks, and without validation: a draw of one
    datum may lie outside the support of another.

    Args:
        name: The site.
        fn: Its distribution.
        position: The dimension of the data in a value, from the right.
        event_shape: What counts as the dimensions of a value; by default those of `fn`, where a
            one-hot vector is one.
    """

    def __init__(
        self, name: str, fn: Any, position: int, event_shape: torch.Size | None = None
    ) -> None:
        self.name = name
        self.fn = _plain(unmasked(fn))
        self.position = position
        self.event_shape = dimension_shape(fn) if event_shape is None else event_shape
        self.factorised = is_one_hot(fn) or not unwrap(fn).event_shape
        try:
            self.marginals = _plain(marginals(self.fn, name))
        except ValueError:
            self.marginals = None

    @property
    def num_marginals(self) -> int:
        """The number of dimensions whose marginals are known: all or none."""
        return 0 if self.marginals is None else math.prod(self.event_shape)

    def __call__(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Scores values; what else is inside a datum is summed.

        Args:
            value: Shape ``(values, *batch, *event)``; at `position` either the data, or of size 1
                to score a value under every datum.

        Returns:
            log q(z|x), nats in double precision, shape ``(values, data)``, and log q(z_d|x), shape
            ``(values, num_marginals, data)``.
        """
        if self.marginals is not None:
            log_prob = score(self.marginals, value, self.name)
            position = self.position + len(self.marginals.event_shape)
            each = sum_inside(log_prob, position, self.num_marginals)
            if self.factorised:
                return each.sum(1), each
        log_prob = score(self.fn, value, self.name)
        joint = sum_inside(log_prob, self.position + self.fn.event_dim, 1)
        return joint[:, 0], joint[:, :0] if self.marginals is None else each


def sum_inside(log_prob: Tensor, position: int, size: int) -> Tensor:
    """Sums a datum's cells: ``(values, size, data)``. Contiguous, a sum over data takes half."""
    log_prob = log_prob.movedim(position, -1)
    cells = log_prob.reshape(len(log_prob), -1, size, log_prob.shape[-1])
    cells = cells.to(torch.float64, memory_format=torch.contiguous_format)
    return cells[:, 0] if cells.shape[1] == 1 else cells.sum(1)


_REMEMBERED = ("_inv", "_cached_x_y")
"""What a transform keeps of earlier calls: its inverse, which refers to it, and its last pair."""


def _plain(part: Any, copies: dict[int, Any] | None = None) -> Any:
    """A copy of a distribution, at least in single precision, without validation.

    Modules are left as they are (a flow that the guide keeps has its own precision), and each part
    is copied once, however parts refer to each other.
    """
    copies = {} if copies is None else copies
    if id(part) in copies:
        return copies[id(part)]
    if isinstance(part, torch.nn.Module):
        return part
    if isinstance(part, Tensor):
        return at_least_single(part) if part.is_floating_point() else part
    if type(part) in (list, tuple):
        return type(part)(_plain(each, copies) for each in part)
    if isinstance(part, transforms._InverseTransform):
        return _plain(part.inv, copies).inv
    if isinstance(part, torch.distributions.Distribution | torch.distributions.Transform):
        copies[id(part)] = copied = copy.copy(part)
        for name, value in vars(part).items():
            if name not in _REMEMBERED:
                vars(copied)[name] = _plain(value, copies)
        if isinstance(copied, torch.distributions.Distribution):
            copied._validate_args = False
        else:
            vars(copied)["_inv"] = None
        return copied
    return part
