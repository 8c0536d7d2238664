"""The data of the open question, as the runs of its arms take them: a pool, a test set, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from experiments.open_question.design.datasets import (
    LABEL,
    SPRITES,
    STROKES,
    DataName,
    FactorSet,
    factor_set_of,
    study_data,
)
from pyro_mivae import morphometry
from pyro_mivae.datasets import (
    FactorSplit,
    Law,
    Split,
    load_digits,
    measured,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ArmData:
    """A data set of the study.

    Attributes:
        name: Name, ``D0`` to ``D6b``.
        factor_set: Factors that are measured of it.
        pool: Images uint8 (P, H, W), of which each seed takes some to train on.
        pool_factors: Factors of the pool, by name, (P,) each.
        test: Test images uint8 (N, H, W).
        factors: Factors of the test images, the label among them, by name, (N,) each.
        laws: Laws that the factors were drawn from or resampled to.
        set_measured: Correlation of the set and the measured factor on the test images, by name;
            of re-inked digits only.
        unmeasured: Test images that were left out, since a factor could not be measured.
        source: Origin of the images.
    """

    name: DataName
    factor_set: FactorSet
    pool: Tensor
    pool_factors: Mapping[str, Array]
    test: Tensor
    factors: Mapping[str, Array]
    laws: Mapping[str, Law]
    set_measured: Mapping[str, float]
    unmeasured: int
    source: Mapping[str, Any]

    def rows(self, seed: int, number: int) -> NDArray[np.int64]:
        """Draws the part of the pool that a seed trains on; of D3, D4 and D5 the same digits."""
        if number > len(self.pool):
            raise ValueError(
                f"--train: expected at most the {len(self.pool)} images of --pool, found {number}"
            )
        return np.random.default_rng(seed).permutation(len(self.pool))[:number]

    def distance(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Computes how far T and S are from their laws, by Kolmogorov and Smirnov.

        The larger distance of two: of the images to train on, and of those to test on.
        """
        return {
            name: max(
                float(stats.kstest(values, law.cdf).statistic)
                for values in (self.pool_factors[name][rows], self.factors[name])
            )
            for name, law in self.laws.items()
            if name in self.factor_set.pair
        }


def load(
    name: DataName,
    *,
    pool: int,
    test: int,
    digits: Literal["auto", "mnist", "mnist-5k"] = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> ArmData:
    """Makes a data set, or reads what was kept of it.

    Args:
        name: Name, ``D0`` to ``D6b``.
        pool: Number of images of which each seed takes some.
        test: Number of images to test on, the same for all seeds.
        digits: Digits that D0 to D5 are made of.
        data_dir: Folder of the digits.
        cache_dir: Folder in which drawn images and measurements are kept.
    """
    factor_set, source = factor_set_of(name), None
    if factor_set is not SPRITES:
        source = load_digits(digits, data_dir=data_dir)
    data = study_data(name, num_train=pool, num_test=test, digits=source, cache_dir=cache_dir)
    factors = {n: data.test.factors[n].values for n in factor_set.factors}
    measurable = np.isfinite(np.stack(list(factors.values()))).all(0)
    factors = {n: values[measurable] for n, values in factors.items()}
    factors[LABEL] = data.test.labels.numpy()[measurable].astype(np.float64)
    return ArmData(
        name,
        factor_set,
        data.train.images,
        {n: data.train.factors[n].values for n in factor_set.factors},
        data.test.images[torch.from_numpy(measurable)],
        factors,
        data.laws,
        _set_measured(data.test, factor_set, cache_dir) if factor_set is STROKES else {},
        int((~measurable).sum()),
        {
            "name": name,
            "source": data.source,
            "checksum": None if source is None else source.checksum,
            "effective_size": data.train.effective_size,
        },
    )


def _set_measured(
    split: FactorSplit, factor_set: FactorSet, cache_dir: Path | None
) -> dict[str, float]:
    measurements = measured(Split(split.images, split.labels), cache_dir=cache_dir)
    correlations = {}
    for name in factor_set.pair:
        measurable = np.isfinite(measurements[name].values)
        pairs = split.factors[name].values[measurable], measurements[name].values[measurable]
        correlations[name] = float(np.corrcoef(*pairs)[0, 1])
    return correlations


def measure(images: Tensor, factor_set: FactorSet) -> Array:
    """Measures images in [0, 1], (N, H, W), in the order of ``factor_set.moved``: (N, M)."""
    if factor_set is not SPRITES:
        strokes = morphometry.measure(images)
        return np.stack([strokes[name].values for name in factor_set.moved], 1)
    grey = images.double().numpy()
    height, width = grey.shape[1:]
    area = grey.sum((1, 2))
    mass = np.where(area > 0, area, np.nan)
    x = grey.sum(1) @ (np.arange(width) + 0.5) / mass - width / 2
    y = grey.sum(2) @ (np.arange(height) + 0.5) / mass - height / 2
    values = {"scale": np.sqrt(mass), "x": x, "y": y}
    return np.stack([values[name] for name in factor_set.moved], 1)
