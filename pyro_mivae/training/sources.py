"""The kinds of data that :func:`pyro_mivae.training.fit` takes, and the batches of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyro_mivae.batches import Batches, BatchSource, Prepare, as_tensors
from pyro_mivae.training.dataset_batches import DatasetBatches
from pyro_mivae.training.iterable_batches import IterableBatches

TrainingData = Tensor | Dataset[Any] | Iterable[Any]
"""What fit and evaluate take as data."""


def make_source(
    data: Any,
    batch_size: int | None,
    seed: int,
    prepare: Prepare | None,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    drop_last: bool = False,
    shuffle: bool = True,
) -> BatchSource:
    """Makes the batches of a training, by the kind of its data.

    Args:
        data: Tensors, a Dataset, a DataLoader, or an iterable of batches.
        batch_size: Data in a batch; None for all of them.
        seed: Seed of the order.
        prepare: What makes the arguments of model and guide from a batch.
        device: Device of the training.
        share: Rank and number of the processes that share every batch.
        drop_last: Whether to leave out the last batch of an epoch if it is smaller.
        shuffle: Whether the order of tensors and of a Dataset is another one in each epoch.
    """
    kind = kind_of(data)
    size = None if batch_size is None else int(batch_size)
    if kind == "tensors":
        tensors = as_tensors(list(data.tensors) if isinstance(data, TensorDataset) else data)
        tensors = [tensor.to(device) for tensor in tensors]
        return Batches(tensors, size, seed, prepare, share, drop_last, shuffle)
    if kind == "dataset":
        return DatasetBatches(data, size, seed, prepare, device, share, drop_last, shuffle)
    own = data.batch_size if isinstance(data, DataLoader) else None
    if batch_size is not None and not isinstance(batch_size, DefaultSize) and batch_size != own:
        warnings.warn(
            f"batch_size={batch_size} is left out: the batches of {type(data).__name__} count"
            + (f", which are of {own} data" if own else ""),
            stacklevel=3,
        )
    return IterableBatches(data, seed, prepare, device, share, drop_last)


def kind_of(data: Any) -> str:
    """Says how data are read: "tensors", "dataset", or "batches".

    Raises:
        ValueError: If they are none of these.
    """
    if isinstance(data, Tensor) or type(data) is TensorDataset:
        return "tensors"
    if isinstance(data, list | tuple) and all(isinstance(item, Tensor) for item in data):
        lengths = [len(item) if item.dim() else 1 for item in data]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"data must be tensors of equal length above 0, found lengths {lengths}: a list or "
                "tuple has one tensor for each argument of model and guide. If they are batches, "
                "pass a list of tuples, [(batch,), ...]"
            )
        as_tensors(data)  # also refuses none at all
        return "tensors"
    name = type(data).__name__
    if isinstance(data, IterableDataset):
        raise ValueError(
            f"data: {name} is an IterableDataset, which gives data and no batches: pass "
            "DataLoader(dataset, batch_size=...), with batch_size=None if it gives batches"
        )
    if isinstance(data, Dataset):
        return "dataset"
    plain = (str, bytes, Mapping, set, frozenset, np.ndarray, nn.Module)
    if isinstance(data, plain) or not isinstance(data, Iterable):
        raise ValueError(
            "data: expected a tensor, a list or tuple of tensors of equal length, a torch Dataset, "
            f"a DataLoader, or an object that gives the batches of an epoch, found {name}"
        )
    return "batches"


class DefaultSize(int):
    """The default of a batch size, which says nothing against that of a DataLoader."""
