"""The data of the study: re-inked digits under three sets of laws, of the same digits and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from experiments.infogan_study.design.cells import DataName
from experiments.open_question.design.datasets import STUDY_LAWS
from pyro_mivae.datasets import Laplace, Law, Split, Uniform, load_digits, measured, reinked_digits

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
        set_measured: Correlation of the set and the measured factor on the test images, by name.
        source: Origin of the images.
    """

    pool: Tensor
    pool_labels: Tensor
    test: Tensor
    test_labels: Tensor
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
    digits: Literal["auto", "mnist", "mnist-5k"] = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> StudyData:
    """Draws a data set, or reads what was kept of it.

    Args:
        name: Name of the data set.
        pool: Number of images of which each seed takes a part.
        test: Number of test images, the same for all seeds.
        digits: Digits that are redrawn.
        data_dir: Folder of the digits.
        cache_dir: Folder in which drawn images and measurements are kept.
    """
    source = load_digits(digits, data_dir=data_dir)
    laws = LAWS[name]
    data = reinked_digits(
        source,
        thickness=laws["thickness"],
        slant=laws["slant"],
        num_train=pool,
        num_test=test,
        cache_dir=cache_dir,
        name=name,
    )
    measurements = measured(Split(data.test.images, data.test.labels), cache_dir=cache_dir)
    correlations = {}
    for factor in FACTORS:
        values = measurements[factor].values
        finite = np.isfinite(values)
        pair = data.test.factors[factor].values[finite], values[finite]
        correlations[factor] = float(np.corrcoef(*pair)[0, 1])
    return StudyData(
        data.train.images,
        data.train.labels,
        data.test.images,
        data.test.labels,
        correlations,
        {"name": name, "source": data.source, "checksum": source.checksum},
    )


def law_distances(factor: str, values: NDArray[np.float64]) -> dict[DataName, float]:
    """Computes how far a factor, standardised, is from its law in each data set.

    Args:
        factor: Name of the factor.
        values: Values that were measured of images, shape ``(N,)``; NaN are left out.

    Returns:
        Kolmogorov-Smirnov distances by data set; NaN where the factor does not vary.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or not finite.std() > 0:
        return dict.fromkeys(LAWS, float("nan"))
    standard = (finite - finite.mean()) / finite.std()
    distances: dict[DataName, float] = {}
    for name, laws in LAWS.items():
        law = laws[factor]
        at = law.mean() + law.std() * standard
        distances[name] = float(stats.kstest(at, law.cdf).statistic)
    return distances
