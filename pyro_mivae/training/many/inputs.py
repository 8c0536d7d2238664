"""What a training of many seeds is given for each of them: numbers, data, folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyro_mivae.batches import as_tensors
from pyro_mivae.checks import check_seed, shown
from pyro_mivae.training.sources import kind_of


def checked_seeds(seeds: Any) -> list[int]:
    """Returns seeds as a list; raises a ``ValueError`` unless each is another one."""
    if not isinstance(seeds, Iterable):
        raise ValueError(f"seeds must be one or more whole numbers, found {shown(seeds)}")
    numbers = [check_seed("seeds", seed) for seed in seeds]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be one or more, each another one, found {shown(numbers)}")
    return numbers


def folders_of_seeds(folder: Any, seeds: Sequence[int]) -> dict[int, Path]:
    """Gives the folder of each seed; empty for none.

    Args:
        folder: Parent of the folders, a mapping of them by seed, or None.
        seeds: The seeds.

    Raises:
        ValueError: If one is missing, or two are the same.
    """
    if folder is None:
        return {}
    if not isinstance(folder, Mapping):
        if not isinstance(folder, str | Path):
            raise ValueError(f"folder must be a path, or one for each seed, found {shown(folder)}")
        folder = {seed: Path(folder) / f"seed-{seed}" for seed in seeds}
    _check_seeds("folder", folder, seeds)
    folders = {seed: Path(folder[seed]) for seed in seeds}
    if files := [path for path in folders.values() if path.exists() and not path.is_dir()]:
        raise ValueError(f"folder must be that of a folder, found the file {files[0]}")
    if len(set(folders.values())) < len(folders):
        raise ValueError(f"folder must be another one for each seed, found {shown(folder)}")
    return folders


def data_of_seeds(data: Any, seeds: Sequence[int], device: torch.device) -> dict[int, Any]:
    """Gives the data of each seed; tensors of all seeds are moved to the device once.

    Args:
        data: Tensors or a Dataset, or a mapping of them by seed.
        seeds: The seeds.
        device: Device of the training.

    Raises:
        ValueError: If they are of another kind, or one is missing.
    """
    if isinstance(data, Mapping):
        _check_seeds("data", data, seeds)
        return {seed: _checked_data(data[seed], device) for seed in seeds}
    return dict.fromkeys(seeds, _checked_data(data, device))


def _checked_data(data: Any, device: torch.device) -> Any:
    kind = kind_of(data)
    if kind == "batches":
        raise ValueError(
            "data: fit_many takes tensors or a map-style Dataset, which each seed reads in its "
            f"own order, found {type(data).__name__}: pass its dataset, or train each seed with "
            "fit, in a loop"
        )
    if kind == "dataset":
        return data
    tensors: list[Tensor] = as_tensors(
        list(data.tensors) if isinstance(data, TensorDataset) else data
    )
    return [tensor.to(device) for tensor in tensors]


def _check_seeds(name: str, values: Mapping[int, Any], seeds: Sequence[int]) -> None:
    if missing := [seed for seed in seeds if seed not in values]:
        raise ValueError(f"{name}: expected an entry for each seed, found none of {shown(missing)}")
