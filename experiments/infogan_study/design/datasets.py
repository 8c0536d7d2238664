"""The data of the study: re-inked digits under three sets of laws, of the same digits and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from experiments.infogan_study.design.cells import DataName
from experiments.open_question.design.datasets import STUDY_LAWS
from pyro_mivae.datasets import (
    Digits,
    FactorData,
    FactorSplit,
    Laplace,
    Law,
    Split,
    Uniform,
    load_digits,
    measured,
    reinked_digits,
)

DigitsName: TypeAlias = Literal["auto", "mnist", "mnist-5k"]
FACTORS = ("thickness", "slant")
"""T and S, whose laws are set."""
_T, _S = (STUDY_LAWS["D3"][name] for name in FACTORS)
LAWS: Mapping[DataName, Mapping[str, Law]] = {
    "D3": STUDY_LAWS["D3"],
    "D4": STUDY_LAWS["D4"],
    "D4-laplace": {"thickness": Laplace.like(_T, reach=2.45), "slant": Uniform.like(_S)},
}
"""T uniform and S normal; T normal and S uniform; T a Laplace law and S uniform. A factor keeps its
mean and its standard deviation."""


@dataclass(frozen=True, eq=False)
class StudyData:
    """A data set of the study.

    Attributes:
        pool: Images uint8 (P, 28, 28), of which each seed takes a part to train on.
        pool_labels: Their digits, (P,).
        test: Test images uint8 (N, 28, 28).
        test_labels: Their digits, (N,).
        real: What is measured of the test images of every data set, by data set and factor, (N,)
            each; NaN where an image could not be measured.
        set_measured: Correlation of the set and the measured factor on the test images, by name.
        source: Origin of the images.
    """

    pool: Tensor
    pool_labels: Tensor
    test: Tensor
    test_labels: Tensor
    real: Mapping[DataName, Mapping[str, NDArray[np.float64]]]
    set_measured: Mapping[str, float]
    source: Mapping[str, Any]

    def rows(self, seed: int, number: int) -> NDArray[np.int64]:
        """Draws the part of the pool that a seed trains on: the same digits in all data sets.

        Raises:
            ValueError: If the pool has fewer images.
        """
        if number > len(self.pool):
            raise ValueError(
                f"--train: expected at most the {len(self.pool)} images of --pool, found {number}"
            )
        return np.random.default_rng(seed).permutation(len(self.pool))[:number]


def load(
    name: DataName,
    *,
    pool: int,
    test: int,
    digits: DigitsName = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> StudyData:
    """Draws a data set, or reads what was kept of it, with the test images of the others.

    Args:
        name: Name of the data set.
        pool: Number of images of which each seed takes a part.
        test: Number of test images, the same for all seeds.
        digits: Digits that are redrawn.
        data_dir: Folder of the digits.
        cache_dir: Folder in which drawn images and measurements are kept.
    """
    source = load_digits(digits, data_dir=data_dir)
    own = _draw(source, name, pool, test, cache_dir)
    # Of the others the test images alone are of use, but no data set is without a pool.
    splits = {
        other: (own if other == name else _draw(source, other, 1, test, cache_dir)).test
        for other in LAWS
    }
    factors = {other: _measure(split, cache_dir) for other, split in splits.items()}
    correlations = {}
    for factor in FACTORS:
        values = factors[name][factor]
        finite = np.isfinite(values)
        pair = own.test.factors[factor].values[finite], values[finite]
        correlations[factor] = float(np.corrcoef(*pair)[0, 1])
    return StudyData(
        own.train.images,
        own.train.labels,
        own.test.images,
        own.test.labels,
        factors,
        correlations,
        {"name": name, "source": own.source, "checksum": source.checksum},
    )


def _draw(
    source: Digits, name: DataName, pool: int, test: int, cache_dir: Path | None
) -> FactorData:
    laws = LAWS[name]
    return reinked_digits(
        source,
        thickness=laws["thickness"],
        slant=laws["slant"],
        num_train=pool,
        num_test=test,
        cache_dir=cache_dir,
        name=name,
    )


def _measure(split: FactorSplit, cache_dir: Path | None) -> dict[str, NDArray[np.float64]]:
    measurements = measured(Split(split.images, split.labels), cache_dir=cache_dir)
    return {factor: measurements[factor].values for factor in FACTORS}


def law_distances(
    factor: str,
    values: NDArray[np.float64],
    real: Mapping[DataName, Mapping[str, NDArray[np.float64]]],
) -> dict[DataName, float]:
    """Computes how far the law of a factor is from its law in each data set, both standardised.

    The law in a data set is that of what is measured of its test images, so that errors of the
    measurement are on both sides.

    Args:
        factor: Name of the factor.
        values: Values that were measured of generated images, shape ``(N,)``; NaN are left out.
        real: Values that were measured of test images, by data set and factor.

    Returns:
        Kolmogorov-Smirnov distances by data set; NaN where the factor does not vary.
    """
    standard = _standardised(values)
    distances: dict[DataName, float] = {}
    for name, factors in real.items():
        other = _standardised(factors[factor])
        distances[name] = float("nan")
        if len(standard) and len(other):
            distances[name] = float(stats.ks_2samp(standard, other, method="asymp").statistic)
    return distances


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finite values in units of their deviation; none where they do not vary."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or not finite.std() > 0:
        return finite[:0]
    return np.asarray((finite - finite.mean()) / finite.std())
