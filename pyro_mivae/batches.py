"""Batches taken by index from tensors that live on the training device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.checks import check_count

Prepare = Callable[..., Any]
"""Makes the arguments of model and guide, a tensor or a tuple, from the tensors of a batch."""


class Batches:
    """A reader of batches by step, taken by index from tensors on the device.

    Args:
        tensors: Tensors of equal length.
        batch_size: Data in a batch; None for all of them, in their order.
        seed: Seed of the order.
        prepare: Makes the arguments of model and guide from a batch.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
    """

    def __init__(
        self,
        tensors: list[Tensor],
        batch_size: int | None,
        seed: int,
        prepare: Prepare | None,
        share: tuple[int, int] = (0, 1),
        drop_last: bool = False,
    ) -> None:
        self.tensors, self.batch_size, self.seed, self.prepare = tensors, batch_size, seed, prepare
        length = len(tensors[0])
        if drop_last and batch_size is not None and batch_size > length:
            raise ValueError(
                f"drop_last=True with batch_size={batch_size} leaves no batch of {length} data: "
                f"use a batch_size of at most {length}"
            )
        rounded = math.floor if drop_last else math.ceil
        self.steps_per_epoch = rounded(length / (batch_size or length))
        self.share = share
        self._epoch, self._order = -1, torch.empty(0)

    def __call__(self, step: int) -> tuple[tuple[Any, ...], float]:
        """The arguments of model and guide at a step, and the number of data in them.

        For a batch that is shared, this is the mean number of a process's data: sums over
        the shares, divided by it, have as their mean over the processes the mean over the
        data of the whole batch, also where the last batch of an epoch has unequal shares.
        """
        if self.batch_size is None:
            return arguments(self.tensors, self.prepare), len(self.tensors[0])
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = permutation(len(self.tensors[0]), self.seed, epoch)
            self._epoch, self._order = epoch, order.to(self.tensors[0].device)
        index = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        count: float = len(index)
        if self.share != (0, 1):
            index, count = _shard(index, *self.share)
        return arguments([tensor[index] for tensor in self.tensors], self.prepare), count

    def smallest(self) -> int:
        """Returns the number of data in the smallest batch, or share of one, of an epoch."""
        length = len(self.tensors[0])
        size = self.batch_size or length
        size = min(size, length - (self.steps_per_epoch - 1) * size)
        return max(1, size // self.share[1])

    def sample(self, count: int) -> tuple[Any, ...]:
        """Returns the arguments of model and guide for the first `count` data."""
        return arguments([tensor[:count] for tensor in self.tensors], self.prepare)


def _shard(index: Tensor, rank: int, ranks: int) -> tuple[Tensor, float]:
    """A rank's part of the indices of a batch, and what its sums are divided by."""
    own = index[rank::ranks]
    if len(own) == 0:
        # Fewer data than ranks: every rank has to take part in the step, this one for nothing.
        return index[:1], math.inf
    return own, len(index) / ranks if len(index) % ranks else len(own)


def arguments(batch: Sequence[Tensor], prepare: Prepare | None) -> tuple[Any, ...]:
    """Returns the positional arguments of model and guide."""
    prepared = tuple(batch) if prepare is None else prepare(*batch)
    return prepared if isinstance(prepared, tuple) else (prepared,)


def permutation(length: int, seed: int, epoch: int) -> Tensor:
    """Draws the order of an epoch's data, int64 ``(length,)``, from seed and epoch alone."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(length, generator=generator)


Data = Tensor | Sequence[Tensor]


def as_tensors(data: Data) -> list[Tensor]:
    """Returns one tensor or several as a tuple, checked to be of equal length."""
    tensors = [data] if isinstance(data, Tensor) else data
    is_sequence = isinstance(tensors, list | tuple)
    if not is_sequence or not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise ValueError(
            "data: expected a tensor or a list or tuple of tensors of equal length, the arguments "
            f"of model and guide, found {type(data).__name__}. Of a Dataset or DataLoader pass its "
            "tensors, for example data=dataset.tensors or torch.stack([x for x, *_ in dataset])"
        )
    tensors = list(tensors)
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"data must be tensors of equal length above 0, found lengths {lengths}")
    return tensors


def batches(
    tensors: list[Tensor], batch_size: int, prepare: Prepare | None
) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Yields the arguments of model and guide by batch, and the number of data in it."""
    batch_size = check_count("batch_size", batch_size)
    for batch in zip(*(torch.split(t, batch_size) for t in tensors), strict=True):
        yield arguments(batch, prepare), len(batch[0])
