"""Batches of a DataLoader, or of an iterable of batches, gone through epoch by epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils import data as torch_data
from torch.utils.data import DataLoader

from pyro_mivae.batches import (
    Batch,
    Prepare,
    checksum_of,
    first_of,
    number_of_batches,
    smallest_batch,
)
from pyro_mivae.training.batch_arguments import leaves_of, make_batch, map_tensors
from pyro_mivae.training.dataset_batches import checksum_of_items
from pyro_mivae.training.loader_order import check_shareable, reseed, sampler_of, unrepeatable
from pyro_mivae.training.seeding import own_randomness


class IterableBatches:
    """The batches of a DataLoader, or of an iterable that gives the batches of an epoch each time.

    One batch is read ahead, so that the end of an epoch is known when its last batch is given.

    Args:
        iterable: The batches: tensors, tuples, lists or dicts of them.
        seed: Seed of a DataLoader's order and of random draws while a batch is read.
        prepare: What makes the arguments of model and guide from a batch.
        device: Device that batches are moved to.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller than the first.

    Attributes:
        steps_per_epoch: Batches in an epoch; None in the first epoch of an iterable without
            ``__len__``.
    """

    steps_per_epoch: int | None

    def __init__(
        self,
        iterable: Iterable[Any],
        seed: int,
        prepare: Prepare | None,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        drop_last: bool = False,
    ) -> None:
        name = type(iterable).__name__
        if isinstance(iterable, Iterator):
            raise ValueError(
                f"data: {name} can be gone through only once, but each epoch starts anew: pass an "
                "object whose __iter__ gives the batches each time, a list or a DataLoader"
            )
        if share != (0, 1):
            check_shareable(iterable)
        self.iterable, self.seed, self.prepare = iterable, seed, prepare
        self.device, self.share, self.drop_last = device, share, drop_last
        self.loader = iterable if isinstance(iterable, DataLoader) else None
        self.kind = "DataLoader" if self.loader is not None else "iterable"
        self.order = "in order" if self.loader is None else type(sampler_of(self.loader)).__name__
        self.batch_size = None if self.loader is None else self.loader.batch_size
        self.length = self._known_length()
        self.steps_per_epoch = self._known_steps()
        self._again = ""
        self._running: Iterator[Any] = iter(())
        self._epoch, self._taken = -1, 0
        self._ahead: deque[Any] = deque()
        self._read = 0  # batches of the epoch, those ahead included
        self._size = 0  # of the epoch's first batch
        self._first: Any = None
        self._last: tuple[int, Batch] | None = None

    @property
    def unrepeatable(self) -> str:
        """The reason why a second reading may give other batches; "" if it gives the same."""
        return unrepeatable(self.iterable) or self._again

    def at(self, step: int) -> Batch:
        """Gives the batch of a step; those before it in its epoch are read and left out."""
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        self._go_to(step)
        batch = self._take()
        if step == 0:
            self._first = batch
        self._last = step, make_batch(batch, self.prepare, self.device, self.share)
        return self._last[1]

    def smallest(self) -> int:
        """Gives the number of data in the smallest batch, or share of one; 2 if it is unknown."""
        if self.length is None or self.batch_size is None or self.loader is None:
            return 2
        drop_last = self.drop_last or self.loader.drop_last
        return smallest_batch(self.length, self.batch_size, drop_last, self.share[1])

    def few(self, number: int) -> Batch:
        """Gives a batch of the first data of the first batch; what is missing is repeated."""
        index = first_of(len(leaves_of(self._first)[0]), number)
        first = map_tensors(self._first, lambda tensor: tensor[index] if tensor.dim() else tensor)
        return make_batch(first, self.prepare, self.device)

    def checksums(self) -> dict[str, str]:
        """Gives the ``checksum`` of a sample, or of the ``first_batch`` if no other can be read.

        That is so for an iterable and for a loader with workers: a Dataset may open a file that
        worker processes must not share. Nothing is given where two readings differ.
        """
        items: Any = self.iterable if self.loader is None else self.loader.dataset
        name = "checksum"
        if isinstance(self.iterable, list | tuple):
            result = checksum_of_items(items, lambda batch: batch)
        elif self.loader is None or self.loader.num_workers or not self.length:
            name, result = "first_batch", self._checksum_of_first()
        else:
            collate = self.loader.collate_fn
            result = checksum_of_items(items, lambda item: collate([item]))
        if result is None:
            self._again = f"reading {type(self.iterable).__name__} twice gave different data"
            return {}
        return {name: result}

    def _checksum_of_first(self) -> str | None:
        """The checksum of the first batch, of which the iterable is started once more."""
        self.at(0)
        before = checksum_of(leaves_of(self._first))
        self._start(0)
        self._last = None
        self.at(0)
        return before if checksum_of(leaves_of(self._first)) == before else None

    def _known_length(self) -> int | None:
        """The number of data, where a sampler of torch knows it."""
        if self.loader is None or type(self.loader.batch_sampler) is not torch_data.BatchSampler:
            return None
        try:
            return len(self.loader.batch_sampler.sampler)  # type: ignore[arg-type]
        except TypeError:
            return None

    def _known_steps(self) -> int | None:
        try:
            number = len(self.iterable)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None
        if number == 0:
            name = type(self.iterable).__name__
            raise ValueError(f"data: expected at least one batch in an epoch, found {name} of 0")
        if not self.drop_last or (self.loader is not None and self.loader.drop_last):
            return number
        if self.length is None or self.batch_size is None:
            return None
        return number_of_batches(self.length, self.batch_size, drop_last=True)

    def _go_to(self, step: int) -> None:
        """Stops in front of the batch of a step."""
        while True:
            per = self.steps_per_epoch
            epoch, number = divmod(step, per) if per else (0, step)
            if self._epoch != epoch or self._taken > number:
                self._start(epoch)
            while self._taken < number and self._ahead:
                self._take()
            if self._taken == number and self._ahead:
                return
            if per is not None and per == self.steps_per_epoch:
                raise self._too_few()

    def _take(self) -> Any:
        batch = self._ahead.popleft()
        self._taken += 1
        self._fill()
        return batch

    def _start(self, epoch: int) -> None:
        self._epoch, self._taken, self._read = epoch, 0, 0
        self._ahead.clear()
        if self.loader is not None:
            reseed(self.loader, self.seed, epoch)
        with own_randomness(self.seed, epoch, 0):
            self._running = iter(self.iterable)
        self._fill()
        if not self._ahead:
            name = type(self.iterable).__name__
            raise ValueError(f"data: expected at least one batch in an epoch, found {name} of 0")

    def _fill(self) -> None:
        """Reads one batch ahead, and leaves out a smaller last one if `drop_last` says so."""
        if not self._ahead:
            self._read_one()
            if self.drop_last and self._ahead and self._read > 1:
                size = len(leaves_of(self._ahead[0])[0])
                if size < self._size and not self._read_one():
                    self._ahead.clear()
        per = self.steps_per_epoch
        if not self._ahead:
            if per is None:
                self.steps_per_epoch = self._taken or None
            elif self._taken < per:
                raise self._too_few()
        elif self._taken == per:
            raise ValueError(
                f"data: expected {per} batches in each epoch, found more in epoch "
                f"{self._epoch + 1}: __len__ is too small, or epochs differ in length"
            )

    def _read_one(self) -> bool:
        with own_randomness(self.seed, self._epoch, self._read + 1):
            batch = next(self._running, None)
        if batch is None:
            return False
        if self._read == 0:
            self._size = len(leaves_of(batch)[0])
        self._ahead.append(batch)
        self._read += 1
        return True

    def _too_few(self) -> ValueError:
        return ValueError(
            f"data: expected {self.steps_per_epoch} batches in each epoch, found {self._taken} in "
            f"epoch {self._epoch + 1}: pass an object whose __iter__ gives as many each time"
        )
