"""How a measurement takes its data: in which batches, prepared how, from which seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.batches import Data, Prepare, arguments, as_tensors, batches
from pyro_mivae.isolation import evaluation
from pyro_mivae.progress import Progress


@dataclass(frozen=True)
class Batching:
    """The data of a measurement, as batches.

    Attributes:
        tensors: Data of equal length N.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.
    """

    tensors: list[Tensor]
    batch_size: int
    prepare: Prepare | None
    seed: int
    progress: bool = False

    @classmethod
    def of(
        cls,
        data: Data,
        batch_size: int,
        prepare: Prepare | None,
        seed: int,
        progress: bool = False,
    ) -> Batching:
        """Checks the data, and that they have equal lengths."""
        return cls(as_tensors(data), batch_size, prepare, seed, progress)

    @property
    def num_data(self) -> int:
        """N."""
        return len(self.tensors[0])

    def first(self, count: int | None) -> Batching:
        """Takes the first `count` data alone; None for all."""
        return replace(self, tensors=[tensor[:count] for tensor in self.tensors])

    def evaluation(self, *parts: Any) -> AbstractContextManager[None]:
        """Isolates the runs of a measurement, see :func:`~pyro_mivae.isolation.evaluation`."""
        return evaluation(*parts, device=self.tensors[0].device, seed=self.seed)

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Yields the arguments of model and guide by batch, and the number of data in it."""
        return batches(self.tensors, self.batch_size, self.prepare)

    def with_progress(self, what: str) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Yields the same behind a progress bar that says what is measured."""
        with Progress(what, self.num_data, "data", shown=self.progress) as bar:
            for args, count in self:
                yield args, count
                bar.update(count)

    def other_size(self, count: int) -> tuple[tuple[Any, ...], int]:
        """Makes the arguments of a batch with one datum less than `count`, or two for one."""
        tensors = [tensor[: count - 1] for tensor in self.tensors]
        if count == 1:
            tensors = [torch.cat([tensor[:1], tensor[:1]]) for tensor in self.tensors]
        return arguments(tensors, self.prepare), len(tensors[0])


Run = Callable[..., Any]
"""Makes a trace from the arguments of a batch."""
