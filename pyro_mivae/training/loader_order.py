"""The order of a DataLoader: what seeds it, and whether its batches come again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import data as torch_data
from torch.utils.data import DataLoader

from pyro_mivae.isolation.seeds import mixed

KNOWN_SAMPLERS = (
    torch_data.SequentialSampler,
    torch_data.RandomSampler,
    torch_data.SubsetRandomSampler,
    torch_data.WeightedRandomSampler,
    torch_data.DistributedSampler,
)
"""Samplers whose order is a function of generators that can be seeded, and of the epoch."""


def sampler_of(loader: DataLoader[Any]) -> Any:
    """Returns what orders the data of a loader."""
    if isinstance(loader.dataset, torch_data.IterableDataset):
        return loader.dataset
    if type(loader.batch_sampler) not in (torch_data.BatchSampler, type(None)):
        return loader.batch_sampler
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def reseed(loader: DataLoader[Any], seed: int, epoch: int) -> None:
    """Seeds all generators that a loader and its samplers draw from."""
    samplers: list[Any] = [loader.sampler, loader.batch_sampler]
    samplers.append(getattr(loader.batch_sampler, "sampler", None))
    for sampler in samplers:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    for owner in (loader, *samplers):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(mixed(seed, epoch))


def unrepeatable(iterable: Iterable[Any]) -> str:
    """Says why the batches of an epoch may not be a function of seed and epoch; "" if they are."""
    if isinstance(iterable, list | tuple):
        return ""
    if not isinstance(iterable, DataLoader):
        return f"{type(iterable).__name__} orders its batches itself"
    sampler = sampler_of(iterable)
    if type(sampler) not in KNOWN_SAMPLERS:
        return f"{type(sampler).__name__} orders the data itself"
    if getattr(iterable, "persistent_workers", False):
        return "persistent workers keep random states of their own from epoch to epoch"
    return ""


def check_shareable(iterable: Iterable[Any]) -> None:
    """Raises a ``ValueError`` unless each of several processes reads the same batches."""
    if not isinstance(iterable, DataLoader):
        raise ValueError(
            f"data: several processes can't share the batches of {type(iterable).__name__}, whose "
            "order they can't agree on: pass tensors, a Dataset or a DataLoader, or use devices=1"
        )
    sampler = sampler_of(iterable)
    reason = unrepeatable(iterable)
    if isinstance(sampler, torch_data.DistributedSampler) and sampler.num_replicas > 1:
        reason = "its DistributedSampler gives each process other data already"
    if reason:
        raise ValueError(
            f"data: several processes can't share the batches of this DataLoader: {reason}. "
            "Use another of torch's samplers, or devices=1"
        )
