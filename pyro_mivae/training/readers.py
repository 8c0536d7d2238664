"""Batches read step by step: from a Dataset, a DataLoader, or an iterable of batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils.data import DataLoader, Dataset, default_collate

from pyro_mivae.batches import Batch, Prepare, permutation, shard
from pyro_mivae.training.reading import as_batch, leaves_of, map_tensors, mixed, own_randomness

KNOWN_SAMPLERS = (
    torch_data.SequentialSampler,
    torch_data.RandomSampler,
    torch_data.SubsetRandomSampler,
    torch_data.WeightedRandomSampler,
    torch_data.DistributedSampler,
)


class DatasetReader:
    """Batches of a map-style Dataset: its data are read by index, batch by batch.

    Args:
        dataset: A Dataset with ``__len__`` and ``__getitem__``.
        batch_size: Data in a batch; None for all of them, in their order.
        seed: Seed of the order and of random draws of the Dataset.
        prepare: What makes the arguments of model and guide from a batch.
        device: Device that batches are moved to.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
        shuffle: Whether the order changes from epoch to epoch.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None,
        seed: int,
        prepare: Prepare | None,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        if not hasattr(dataset, "__len__"):
            raise ValueError(
                f"data: a map-style Dataset needs __len__, found {type(dataset).__name__} without: "
                "pass a DataLoader of it, with the batch size"
            )
        self.dataset, self.batch_size, self.seed, self.prepare = dataset, batch_size, seed, prepare
        self.device, self.share, self.shuffle = device, share, shuffle
        self.length = len(dataset)
        if self.length == 0:
            raise ValueError(f"data: the Dataset is empty, found {type(dataset).__name__} of 0")
        size = batch_size or self.length
        if drop_last and size > self.length:
            raise ValueError(
                f"drop_last=True with batch_size={size} leaves no batch of {self.length} data: "
                f"use a batch_size of at most {self.length}"
            )
        self.steps_per_epoch = self.length // size if drop_last else -(-self.length // size)
        self._epoch, self._order = -1, torch.empty(0)
        self._last: tuple[int, Batch] | None = None

    def at(self, step: int) -> Batch:
        """Gives the batch of a step: a function of the seed and the step."""
        if self.batch_size is None and self._last is not None:
            return self._last[1]
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        epoch, number = divmod(step, self.steps_per_epoch)
        if self.batch_size is None:
            index = torch.arange(self.length)
        else:
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._order_of(epoch)
            index = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        count: float = len(index)
        if self.share != (0, 1) and self.batch_size is not None:
            index, count = shard(index, *self.share)
        self._last = step, self._read(index.tolist(), count, step)
        return self._last[1]

    def smallest(self) -> int:
        """Gives the number of data in the smallest batch, or share of one, of an epoch."""
        size = self.batch_size or self.length
        size = min(size, self.length - (self.steps_per_epoch - 1) * size)
        return max(1, size // self.share[1])

    def one(self) -> Batch:
        """Gives a batch of the first datum."""
        return self._read([0], 1, 0)

    def _order_of(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.length)
        return permutation(self.length, self.seed, epoch)

    def _read(self, index: list[int], count: float, step: int) -> Batch:
        dataset: Any = self.dataset
        with own_randomness(self.seed, step):
            if hasattr(dataset, "__getitems__"):
                data = dataset.__getitems__(index)
            else:
                data = [dataset[number] for number in index]
            batch = default_collate(data)
        args, kwargs, _ = as_batch(batch, self.prepare, self.device)
        return Batch(args, kwargs, count)


class IterableReader:
    """Batches of a DataLoader, or of an iterable that gives the batches of an epoch each time.

    Args:
        iterable: The batches: tensors, tuples, lists or dicts of them.
        seed: Seed of a DataLoader's order and of random draws while a batch is read.
        prepare: What makes the arguments of model and guide from a batch.
        device: Device that batches are moved to.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
        steps: Steps of the training: an iterable without a length is counted no further.
    """

    batch_size: int | None = None

    def __init__(
        self,
        iterable: Iterable[Any],
        seed: int,
        prepare: Prepare | None,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        drop_last: bool = False,
        steps: int | None = None,
    ) -> None:
        name = type(iterable).__name__
        if isinstance(iterable, Iterator):
            raise ValueError(
                f"data: {name} can be gone through only once, but each epoch starts anew: pass an "
                "object whose __iter__ gives the batches each time, a list or a DataLoader"
            )
        self.loader = iterable if isinstance(iterable, DataLoader) else None
        if self.loader is not None and drop_last:
            raise ValueError(
                "drop_last=True is for data without batches: pass it to the DataLoader"
            )
        if self.loader is None and share != (0, 1):
            raise ValueError(
                f"data: several processes can't share the batches of {name}, whose order they "
                "can't agree on: pass tensors, a Dataset or a DataLoader, or use devices=1"
            )
        self.iterable, self.seed, self.prepare = iterable, seed, prepare
        self.device, self.share = device, share
        self._position: tuple[int, int] = (-1, 0)  # epoch and the number of the next batch
        self._running: Iterator[Any] = iter(())
        self._first: Any = None
        self._last: tuple[int, Batch] | None = None
        sizes: list[int] = []
        try:
            number = len(iterable)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            number = -1
        if number < 0 or drop_last:
            sizes, number = self._sizes(steps)
        if number == 0:
            raise ValueError(f"data: expected at least one batch in an epoch, found {name} of 0")
        self._spare = int(drop_last and sizes[-1] < sizes[0])
        self.steps_per_epoch = number - self._spare
        if self.steps_per_epoch == 0:
            raise ValueError("drop_last=True leaves no batch")
        if self.loader is not None and share != (0, 1) and (reason := unrepeatable(iterable)):
            raise ValueError(
                f"data: several processes can't share the batches of this DataLoader: {reason}. "
                "Use one of torch's samplers, or devices=1"
            )

    @property
    def length(self) -> int:
        """The number of data in an epoch, by the size of the first batch."""
        return int(self.at(0).count * self.steps_per_epoch)

    def at(self, step: int) -> Batch:
        """Gives the batch of a step; those before it in its epoch are read and left out."""
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._position[0] != epoch or self._position[1] > number:
            if self._position == (epoch - 1, self.steps_per_epoch):
                self._check_end()
            self._start(epoch)
        if step and self._last is not None and step != self._last[0] + 1:
            self._warn()
        while self._position[1] < number:
            self._next()
        batch = self._next()
        if step == 0:
            self._first = batch
        self._last = step, Batch(*as_batch(batch, self.prepare, self.device, self.share))
        return self._last[1]

    def smallest(self) -> int:
        """Gives 2 where the sizes of a DataLoader's batches do not tell of a batch of one."""
        loader = self.loader
        if loader is None or type(loader.batch_sampler) is not torch_data.BatchSampler:
            return 2
        size, drop_last = loader.batch_sampler.batch_size, loader.batch_sampler.drop_last
        rest = len(loader.batch_sampler.sampler) % size  # type: ignore[arg-type]
        size = rest if rest and not drop_last else size
        return max(1, size // self.share[1])

    def one(self) -> Batch:
        """Gives a batch of the first datum of the first batch."""
        first = map_tensors(self._first, lambda tensor: tensor[:1])
        args, kwargs, _ = as_batch(first, self.prepare, self.device)
        return Batch(args, kwargs, 1)

    def _start(self, epoch: int) -> None:
        self._position = epoch, 0
        generators: list[Any] = []
        loader = self.loader
        if loader is not None:
            samplers: list[Any] = [loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
            generators = [loader.generator, *(getattr(s, "generator", None) for s in samplers)]
            for sampler in samplers:
                if hasattr(sampler, "set_epoch"):
                    sampler.set_epoch(epoch)
        for generator in generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(mixed(self.seed, epoch))
        with own_randomness(self.seed, epoch, 0):
            self._running = iter(self.iterable)

    def _next(self) -> Any:
        epoch, number = self._position
        with own_randomness(self.seed, epoch, number + 1):
            batch = next(self._running, None)
        if batch is None:
            raise ValueError(
                f"data: expected {self.steps_per_epoch} batches in each epoch, found {number} in "
                f"epoch {epoch + 1}: pass an object whose __iter__ gives as many each time"
            )
        self._position = epoch, number + 1
        return batch

    def _check_end(self) -> None:
        for _ in range(self._spare):
            next(self._running, None)
        if next(self._running, None) is not None:
            raise ValueError(
                f"data: expected {self.steps_per_epoch} batches in each epoch, found more in epoch "
                f"{self._position[0] + 1}: __len__ is too small, or epochs differ in length"
            )

    def _sizes(self, steps: int | None) -> tuple[list[int], int]:
        """The sizes of an epoch's batches, and their number; up to one more than `steps`."""
        sizes: list[int] = []
        self._start(0)
        with own_randomness(self.seed, 0):
            for batch in self._running:
                sizes.append(len(leaves_of(batch)[0]))
                if steps is not None and len(sizes) > steps:
                    break
        self._position = -1, 0
        return sizes, len(sizes)

    def _warn(self) -> None:
        if reason := unrepeatable(self.iterable):
            warnings.warn(
                f"the training goes on within its data, but {reason}: it is bit for bit the "
                "training without the stop only if the same batches come again",
                stacklevel=2,
            )


def unrepeatable(loader: Iterable[Any]) -> str:
    """Says why the batches of an epoch may not be a function of seed and epoch, or ''."""
    if isinstance(loader, list | tuple):
        return ""
    if not isinstance(loader, DataLoader):
        return f"the order of {type(loader).__name__} is its own affair"
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(loader.dataset, torch_data.IterableDataset):
        return f"the order of {type(loader.dataset).__name__} is its own affair"
    if type(loader.batch_sampler) not in (torch_data.BatchSampler, type(None)):
        return f"the order of {type(loader.batch_sampler).__name__} is its own affair"
    if type(sampler) not in KNOWN_SAMPLERS:
        return f"the order of {type(sampler).__name__} is its own affair"
    if getattr(loader, "persistent_workers", False):
        return "persistent workers keep random states of their own from epoch to epoch"
    return ""
