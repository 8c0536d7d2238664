"""The arguments of model and guide from a batch: a tensor, or nested tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.batches import Batch, Prepare, prepared_arguments, shard

EXPECTED = "data: expected batches that are tensors, or tuples, lists or dicts of tensors"


def make_batch(
    batch: Any, prepare: Prepare | None, device: torch.device, share: tuple[int, int] = (0, 1)
) -> Batch:
    """Moves a batch to a device and makes the arguments of model and guide.

    Args:
        batch: Tensor, or tuple, list or dict of tensors; a dict has keyword arguments.
        prepare: What makes the positional arguments; given a dict it takes keyword arguments.
        device: Device of the training.
        share: Rank and number of the processes that share the batch.

    Raises:
        ValueError: If it is none of these, or processes can't share it.
    """
    leaves = leaves_of(batch)
    count: float = len(leaves[0])
    if isinstance(batch, Mapping) and (wrong := [n for n in batch if not isinstance(n, str)]):
        raise ValueError(
            "data: a batch that is a dict has the keyword arguments of model and guide: expected "
            f"names, found {wrong[0]!r}"
        )
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
        own = len(leaves_of(batch)[0])
        if isinstance(batch, Mapping):
            batch = prepare(**batch)
        else:
            batch = prepare(*batch) if isinstance(batch, list | tuple) else prepare(batch)
        return Batch(prepared_arguments(batch, own), {}, count)
    if isinstance(batch, Mapping):
        return Batch((), dict(batch), count)
    return Batch(tuple(batch) if isinstance(batch, list | tuple) else (batch,), {}, count)


def leaves_of(batch: Any) -> list[Tensor]:
    """Lists the tensors of a batch.

    Raises:
        ValueError: If it has none, or their first dimension is not that of the data.
    """
    leaves: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        leaves.append(tensor)
        return tensor

    map_tensors(batch, collect)
    if not leaves or leaves[0].dim() == 0 or len(leaves[0]) == 0:
        shape = f"a tensor of shape {tuple(leaves[0].shape)}" if leaves else type(batch).__name__
        raise ValueError(f"{EXPECTED}, whose first dimension is that of the data, found {shape}")
    return leaves


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor], only_tensors: bool = False) -> Any:
    """Changes each tensor of a batch.

    Args:
        batch: Tensor, or nested tuples, lists and dicts.
        change: Function of a tensor.
        only_tensors: Whether to raise a ``ValueError`` for what is none.
    """
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
            f"{EXPECTED}, found {type(batch).__name__} in one: leave it out, or make the "
            "arguments with prepare="
        )
    return batch
