"""Batches by step, whatever they are read from, and those of tensors on the training device."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.checks import check_count
from pyro_mivae.isolation.seeds import mixed

Prepare = Callable[..., Any]
"""Makes the arguments of model and guide, a tensor or a tuple, from the tensors of a batch."""

SAMPLE = 1 << 16
"""Numbers of a tensor that its checksum is of, where it has more."""


@dataclass(frozen=True)
class Batch:
    """What model and guide are called with in a step.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        count: Number of data, which sums over them are divided by. For a batch that processes
            share, this is the mean number of a process's data: sums over the shares, divided by
            it, have as their mean over the processes the mean over the data of the whole batch,
            also where the last batch of an epoch has unequal shares.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    count: float


class BatchSource(Protocol):
    """A source of batches by step, on the training device, whatever they are read from.

    Attributes:
        kind: Kind of the data, for messages.
        order: Name of what orders the data of an epoch.
        seed: Seed of the order.
        batch_size: Data in a batch, of all processes together; None where it is not fixed.
        steps_per_epoch: Batches in an epoch; None while nobody knows.
    """

    kind: str
    order: str
    seed: int
    batch_size: int | None
    steps_per_epoch: int | None

    @property
    def length(self) -> int | None:
        """The number of data in an epoch, if it is known without a reading of all."""

    @property
    def unrepeatable(self) -> str:
        """The reason why a second reading may give other batches; "" if it gives the same."""

    def at(self, step: int) -> Batch:
        """Gives the batch of a step."""

    def smallest(self) -> int:
        """Gives the number of data in the smallest batch of an epoch; 2 where it is not known."""

    def few(self, number: int) -> Batch:
        """Gives a batch of as many data, from the first on; what is missing is repeated."""

    def checksums(self) -> dict[str, str]:
        """Gives what tells these data from others; nothing where two readings of them differ.

        Returns:
            ``checksum`` of a sample of the data, or ``first_batch``, the checksum of the first
            batch, which may be another one also where the data are the same.
        """


class Batches:
    """The batches taken by index from tensors on the device.

    Args:
        tensors: Tensors of equal length.
        batch_size: Data in a batch; None for all of them, in their order.
        seed: Seed of the order.
        prepare: Makes the arguments of model and guide from a batch.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
        shuffle: Whether the order is another one in each epoch, and not that of the data.
    """

    kind = "tensors"
    order = "by seed"
    unrepeatable = ""
    steps_per_epoch: int | None

    def __init__(
        self,
        tensors: list[Tensor],
        batch_size: int | None,
        seed: int,
        prepare: Prepare | None,
        share: tuple[int, int] = (0, 1),
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        self.tensors, self.batch_size, self.seed, self.prepare = tensors, batch_size, seed, prepare
        self.share, self.drop_last, self.shuffle = share, drop_last, shuffle
        self.length = len(tensors[0])
        self.steps_per_epoch = number_of_batches(self.length, batch_size, drop_last)
        self._epoch, self._order = -1, torch.empty(0)

    def at(self, step: int) -> Batch:
        """Gives the batch of a step: a function of the seed and the step."""
        size, count = self.batch_size, float(self.length)
        parts: list[Tensor] = self.tensors
        if size is not None:
            epoch, number = divmod(step, self.steps_per_epoch or 1)
            if not self.shuffle and self.share == (0, 1):
                parts = [tensor[number * size : (number + 1) * size] for tensor in parts]
                count = len(parts[0])
            else:
                if epoch != self._epoch:
                    order = order_of(self.length, self.seed, epoch, self.shuffle)
                    self._epoch, self._order = epoch, order.to(parts[0].device)
                index, count = shard(self._order[number * size : (number + 1) * size], *self.share)
                parts = [tensor[index] for tensor in parts]
        return Batch(arguments(parts, self.prepare, len(parts[0])), {}, count)

    def few(self, number: int) -> Batch:
        """Gives a batch of the first data; what is missing is repeated."""
        parts = [tensor[first_of(len(tensor), number)] for tensor in self.tensors]
        return Batch(arguments(parts, self.prepare, number), {}, number)

    def smallest(self) -> int:
        """Gives the number of data in the smallest batch, or share of one, of an epoch."""
        return smallest_batch(self.length, self.batch_size, self.drop_last, self.share[1])

    def checksums(self) -> dict[str, str]:
        """Gives the ``checksum`` of the tensors, or of a sample where they are large."""
        return {"checksum": checksum_of(self.tensors)}


def number_of_batches(length: int, batch_size: int | None, drop_last: bool) -> int:
    """Counts the batches of an epoch.

    Raises:
        ValueError: If `drop_last` leaves none.
    """
    if drop_last and batch_size is not None and batch_size > length:
        raise ValueError(
            f"drop_last=True with batch_size={batch_size} leaves no batch of {length} data: "
            f"use a batch_size of at most {length}"
        )
    rounded = math.floor if drop_last else math.ceil
    return rounded(length / (batch_size or length))


def smallest_batch(length: int, batch_size: int | None, drop_last: bool, ranks: int = 1) -> int:
    """Counts the data in the smallest batch, or share of one, of an epoch."""
    size = batch_size or length
    rest = 0 if drop_last else length % size
    return max(1, (rest or min(size, length)) // ranks)


def first_of(length: int, number: int) -> list[int]:
    """Lists the indices of the first data; where there are fewer, they are repeated."""
    return [index % length for index in range(number)]


def shard(index: Tensor, rank: int, ranks: int) -> tuple[Tensor, float]:
    """Takes a rank's part of the indices of a batch, and gives what its sums are divided by."""
    own = index[rank::ranks]
    if len(own) == 0:
        # Fewer data than ranks: every rank has to take part in the step, this one for nothing.
        return index[:1], math.inf
    return own, len(index) / ranks if len(index) % ranks else len(own)


def arguments(
    batch: Sequence[Tensor], prepare: Prepare | None, count: int | None = None
) -> tuple[Any, ...]:
    """Returns the positional arguments of model and guide; `count` is that of the data in them."""
    if prepare is None:
        return tuple(batch)
    return prepared_arguments(prepare(*batch), count)


def prepared_arguments(prepared: Any, count: int | None) -> tuple[Any, ...]:
    """Returns what `prepare` made of `count` data as positional arguments.

    Warns where all of its tensors begin with a smaller dimension, and none has one of this length:
    sums over fewer data would be divided by `count`.
    """
    args = prepared if isinstance(prepared, tuple) else (prepared,)
    shapes = [leaf.shape for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor)]
    first = [shape[0] for shape in shapes if shape]
    if count and first and max(first) < count and not any(count in shape for shape in shapes):
        listed = ", ".join(str(tuple(shape)) for shape in shapes)
        warnings.warn(
            f"prepare: expected tensors with a dimension of the {count} data of the batch, found "
            f"shapes {listed}. Sums over the batch are divided by {count} all the same: where "
            "prepare leaves data out, leave them out of the data themselves",
            stacklevel=2,
        )
    return args


def permutation(length: int, seed: int, epoch: int) -> Tensor:
    """Draws the order of an epoch's data, int64 ``(length,)``, from seed and epoch alone."""
    generator = torch.Generator().manual_seed(mixed(seed, epoch))
    return torch.randperm(length, generator=generator)


def order_of(length: int, seed: int, epoch: int, shuffle: bool) -> Tensor:
    """Returns the order of an epoch's data, int64 ``(length,)``: a permutation, or their own."""
    return permutation(length, seed, epoch) if shuffle else torch.arange(length)


def checksum_of(tensors: Sequence[Tensor]) -> str:
    """Returns a checksum of shapes, types and numbers; of large tensors a sample is taken."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        if len(flat) > SAMPLE:
            generator = torch.Generator().manual_seed(0)
            index = torch.randint(len(flat), (SAMPLE,), generator=generator)
            flat = flat[index.to(flat.device)]
        digest.update(flat.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
        count = len(batch[0])
        yield arguments(batch, prepare, count), count
