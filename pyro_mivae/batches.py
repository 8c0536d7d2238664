"""Batches taken by index from tensors that live on the training device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Prepare = Callable[..., Any]
"""Makes the arguments of model and guide, a tensor or a tuple, from the tensors of a batch."""


class Batches:
    """Batches by step, taken by index from tensors on the device.

    Args:
        tensors: Tensors of equal length.
        batch_size: Data in a batch; None for all of them, in their order.
        seed: Of the order.
        prepare: Makes the arguments of model and guide from a batch.
    """

    def __init__(
        self, tensors: list[Tensor], batch_size: int | None, seed: int, prepare: Prepare | None
    ) -> None:
        self.tensors, self.batch_size, self.seed, self.prepare = tensors, batch_size, seed, prepare
        self.steps_per_epoch = math.ceil(len(tensors[0]) / (batch_size or len(tensors[0])))
        self._epoch, self._order = -1, torch.empty(0)

    def __call__(self, step: int) -> tuple[tuple[Any, ...], int]:
        """The arguments of model and guide at a step, and the number of data in them."""
        if self.batch_size is None:
            return arguments(self.tensors, self.prepare), len(self.tensors[0])
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = permutation(len(self.tensors[0]), self.seed, epoch)
            self._epoch, self._order = epoch, order.to(self.tensors[0].device)
        index = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        return arguments([tensor[index] for tensor in self.tensors], self.prepare), len(index)


def arguments(batch: Sequence[Tensor], prepare: Prepare | None) -> tuple[Any, ...]:
    """The positional arguments of model and guide."""
    prepared = tuple(batch) if prepare is None else prepare(*batch)
    return prepared if isinstance(prepared, tuple) else (prepared,)


def permutation(length: int, seed: int, epoch: int) -> Tensor:
    """The order of the data in an epoch, int64 ``(length,)``: a function of seed and epoch."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(length, generator=generator)
