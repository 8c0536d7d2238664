"""Batches of a map-style Dataset, whose data are read by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import Dataset, default_collate

from pyro_mivae.batches import (
    Batch,
    Prepare,
    checksum_of,
    first_of,
    number_of_batches,
    order_of,
    shard,
    smallest_batch,
)
from pyro_mivae.training.batch_arguments import leaves_of, make_batch
from pyro_mivae.training.seeding import own_randomness

SAMPLE = 16
"""Data, or batches of a list, that a checksum is of."""


class DatasetBatches:
    """The batches of a map-style Dataset: its data are read by index, batch by batch.

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

    kind = "Dataset"
    order = "by seed"
    steps_per_epoch: int | None

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
        self.device, self.share, self.drop_last = device, share, drop_last
        self.shuffle = shuffle and batch_size is not None
        self.length = len(dataset)
        if self.length == 0:
            raise ValueError(f"data: the Dataset is empty, found {type(dataset).__name__} of 0")
        self.steps_per_epoch = number_of_batches(self.length, batch_size, drop_last)
        self.unrepeatable = ""
        self._epoch, self._order = -1, torch.empty(0)
        self._last: tuple[int, Batch] | None = None

    def at(self, step: int) -> Batch:
        """Gives the batch of a step: a function of the seed and the step."""
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        epoch, number = divmod(step, self.steps_per_epoch or 1)
        if epoch != self._epoch:
            order = order_of(self.length, self.seed, epoch, self.shuffle)
            self._epoch, self._order = epoch, order
        size = self.batch_size
        index, count = self._order, float(self.length)
        if size is not None:
            index, count = shard(index[number * size : (number + 1) * size], *self.share)
        self._last = step, self._read(index.tolist(), count, step)
        return self._last[1]

    def smallest(self) -> int:
        """Gives the number of data in the smallest batch, or share of one, of an epoch."""
        return smallest_batch(self.length, self.batch_size, self.drop_last, self.share[1])

    def few(self, number: int) -> Batch:
        """Gives a batch of the first data; what is missing is repeated."""
        return self._read(first_of(self.length, number), number, 0)

    def checksums(self) -> dict[str, str]:
        """Gives the ``checksum`` of a sample of the data; nothing where two readings differ."""
        result = checksum_of_items(self.dataset, lambda item: _stack([item], self.dataset))
        if result is None:
            self.unrepeatable = f"reading {type(self.dataset).__name__} twice gave different data"
            return {}
        return {"checksum": result}

    def _read(self, index: list[int], count: float, step: int) -> Batch:
        dataset: Any = self.dataset
        with own_randomness(self.seed, step):
            if hasattr(dataset, "__getitems__"):
                data = dataset.__getitems__(index)
            else:
                data = [dataset[number] for number in index]
            batch = _stack(data, dataset)
        batch = make_batch(batch, self.prepare, self.device)
        return Batch(batch.args, batch.kwargs, count)


def _stack(data: list[Any], dataset: Any) -> Any:
    try:
        return default_collate(data)
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"data: torch can't make a batch of the data of {type(dataset).__name__} ({error}): "
            "expected tensors, arrays or numbers of equal shapes. Change __getitem__, or pass a "
            "DataLoader with a collate_fn"
        ) from error


def checksum_of_items(items: Any, as_tensors: Callable[[Any], Any]) -> str | None:
    """Gives a checksum of a sample of items, read by index; None where two readings differ.

    Args:
        items: Dataset, or list of batches.
        as_tensors: Function that makes tensors, or a batch of them, from an item.
    """
    length = len(items)
    index = sorted({number * (length - 1) // max(1, SAMPLE - 1) for number in range(SAMPLE)})
    sums = []
    for _ in range(2):
        with own_randomness(0):
            leaves = [leaf for i in index for leaf in leaves_of(as_tensors(items[i]))]
        sums.append(checksum_of(leaves))
    return sums[0] if sums[0] == sums[1] else None
