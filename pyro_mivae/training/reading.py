"""Single batches: read under random states of their own, moved, and made into arguments."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mivae.batches import Prepare, shard


def mixed(*numbers: int) -> int:
    """A seed made of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**63
    return seed


@contextmanager
def own_randomness(*numbers: int) -> Iterator[None]:
    """Runs reading under seeds of its own, and restores the random states of the training."""
    generator, seed = torch.default_generator, mixed(*numbers)
    states = generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- what datasets draw from
    random.seed(seed)
    try:
        yield
    finally:
        generator.set_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 -- what datasets draw from
        random.setstate(states[2])


def as_batch(
    batch: Any, prepare: Prepare | None, device: torch.device, share: tuple[int, int] = (0, 1)
) -> tuple[tuple[Any, ...], dict[str, Any], float]:
    """Moves a batch and makes the arguments of model and guide; also the number of data in it."""
    leaves = leaves_of(batch)
    count: float = len(leaves[0])
    if share != (0, 1):
        lengths = [len(leaf) if leaf.dim() else 0 for leaf in leaves]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"data: several processes can't share a batch of tensors of lengths {lengths}"
            )
        index, count = shard(torch.arange(lengths[0]), *share)
        batch = map_tensors(batch, lambda tensor: tensor[index])
    batch = map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True), prepare is None)
    if prepare is not None:
        if isinstance(batch, Mapping):
            batch = prepare(**batch)
        else:
            batch = prepare(*batch) if isinstance(batch, list | tuple) else prepare(batch)
        return (batch if isinstance(batch, tuple) else (batch,)), {}, count
    if isinstance(batch, Mapping):
        return (), dict(batch), count
    return (tuple(batch) if isinstance(batch, list | tuple) else (batch,)), {}, count


def leaves_of(batch: Any) -> list[Tensor]:
    """Lists the tensors of a batch; raises a ``ValueError`` where it has no data."""
    leaves: list[Tensor] = []
    if isinstance(batch, Tensor | list | tuple | Mapping):
        map_tensors(batch, lambda tensor: leaves.append(tensor) or tensor)  # type: ignore[func-returns-value]
    if not leaves or leaves[0].dim() == 0 or len(leaves[0]) == 0:
        kind = type(batch).__name__
        raise ValueError(
            "data: expected batches that are tensors, or tuples, lists or dicts of tensors, whose "
            f"first dimension is that of the data, found {kind if not leaves else leaves[0].shape}"
        )
    return leaves


def map_tensors(batch: Any, change: Any, only_tensors: bool = False) -> Any:
    """A batch with each of its tensors changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: map_tensors(value, change, only_tensors) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(value, change, only_tensors) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(value, change, only_tensors) for value in batch)
    if only_tensors:
        raise ValueError(
            "data: expected batches that are tensors, or tuples, lists or dicts of tensors, found "
            f"{type(batch).__name__} in one: leave it out, or make the arguments with prepare="
        )
    return batch
