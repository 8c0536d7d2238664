"""Images with labels and factors, in splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_mivae.datasets.laws import Law

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False, repr=False)
class FactorSplit:
    """Images, what they show, and the factors behind each.

    Attributes:
        images: uint8 (N, H, W), 0 (paper) to 255 (ink).
        labels: int64 (N,): digits, or shapes.
        factors: float64 variables of dimension ``image``, each with its ``units``.
        sources: int64 (N,): row of the source's split that each image was made of or is, repeats
            included; for data without a source 0, 1, ...
        effective_size: Number of equally weighted images of the source that the draws amount to
            (Kish, *Survey Sampling*, 1965): the square of the weights' sum over the sum of squares.
    """

    images: Tensor
    labels: Tensor
    factors: xr.Dataset
    sources: Tensor
    effective_size: float

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        names = ", ".join(str(name) for name in self.factors.data_vars)
        return (
            f"{len(self):,} images of {height} x {width} pixels, worth {self.effective_size:,.0f} "
            f"of the source\n  factors: {names}"
        )

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> FactorSplit:
        """Copies the tensors of the split to a device; the factors stay where they are."""
        tensors = {n: getattr(self, n).to(device) for n in ("images", "labels", "sources")}
        return replace(self, **tensors)


@dataclass(frozen=True, eq=False, repr=False)
class FactorData:
    """A data set whose factors are known.

    Attributes:
        name: Name in tables and files.
        source: One sentence: what the images were made of.
        laws: Laws that factors were drawn from or resampled to; measured factors have none.
        train: Split to train on.
        test: Split to measure on; its images have other sources.
    """

    name: str
    source: str
    laws: Mapping[str, Law]
    train: FactorSplit
    test: FactorSplit

    def __repr__(self) -> str:
        laws = ", ".join(f"{name} {law}" for name, law in self.laws.items())
        return (
            f"{self.name}: {len(self.train):,} images to train on, {len(self.test):,} to test\n"
            f"  {self.source}" + (f"\n  laws: {laws}" if laws else "")
        )

    def to(self, device: torch.device | str) -> FactorData:
        """Copies the data set to a device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def make_split(
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[Any] | Tensor,
    factors: Mapping[str, tuple[NDArray[np.float64], str]] | xr.Dataset,
    sources: NDArray[np.int64] | None = None,
    effective_size: float | None = None,
) -> FactorSplit:
    """Makes a split; `factors` are values and units by name, or a Dataset as it is."""
    import xarray as xr  # slow, and importing the library should not be

    if not isinstance(factors, xr.Dataset):
        factors = xr.Dataset(
            {name: ("image", value, {"units": unit}) for name, (value, unit) in factors.items()}
        )
    return FactorSplit(
        torch.as_tensor(images),
        torch.as_tensor(labels, dtype=torch.int64),
        factors,
        torch.arange(len(images)) if sources is None else torch.as_tensor(sources),
        float(len(images) if effective_size is None else effective_size),
    )


def streams(seed: int, *names: str) -> list[np.random.Generator]:
    """Makes independent generators; a name under a seed gives the same draws anywhere."""
    keys = [list(name.encode()) for name in names]
    return [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)) for key in keys]


def pick(number: int, available: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Picks rows of a source in random order, each as often as any other or once more."""
    rounds = [generator.permutation(available) for _ in range(-(-number // available))]
    return np.concatenate(rounds)[:number].astype(np.int64)
