"""Contrasts of cells over shared seeds, with interval and tests.

They are computed from a study's table, one row a run, whatever made the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.estimates import Mean, standard_error, student_reach

_PERMUTATIONS = 2**16
"""Sign flips: up to 16 pairs have no more, so that their p-value is exact."""
_AT_ONCE = 2_000
"""Sign flips that are held in memory at once."""


@dataclass(frozen=True, eq=False)
class Contrast:
    r"""The interaction :math:`[y(T, D_3) - y(T, D_4)] - [y(G, D_3) - y(G, D_4)]`.

    Attributes:
        treated: :math:`y(T, D_3) - y(T, D_4)` of each seed, shape ``(seeds,)``.
        control: :math:`y(G, D_3) - y(G, D_4)` of each seed.
        permutation_p: Two-sided p-value from swapping `treated` and `control` within seeds.
    """

    treated: NDArray[np.float64]
    control: NDArray[np.float64]
    permutation_p: float

    @property
    def per_seed(self) -> NDArray[np.float64]:
        """The interaction of each seed, shape ``(seeds,)``."""
        return self.treated - self.control

    @property
    def num_seeds(self) -> int:
        """The number of seeds."""
        return len(self.treated)

    @property
    def mean(self) -> float:
        """The estimate, in the unit of y."""
        return float(self.per_seed.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over seeds."""
        return standard_error(self.per_seed)

    @property
    def welch_p(self) -> float:
        """Two-sided p-value of Welch's test, for independent `treated` and `control`."""
        return float(stats.ttest_ind(self.treated, self.control, equal_var=False).pvalue)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns Student's interval of the mean over seeds.

        It is paired: what a seed does to both arms alike cancels before.

        Raises:
            ValueError: If `level` does not lie between 0 and 1.
        """
        reach = student_reach(self.per_seed, level)
        return self.mean - reach, self.mean + reach

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.mean:.3f} [{low:.3f}, {high:.3f}], {self.num_seeds} seeds"


def interaction(
    rows: Iterable[Mapping[str, Any]],
    value: str,
    *,
    arms: tuple[Any, Any] = ("T", "G"),
    data: tuple[Any, Any] = ("D3", "D4"),
    columns: tuple[str, str, str] = ("prior", "data", "seed"),
    num_permutations: int = _PERMUTATIONS,
    seed: int = 0,
) -> Contrast:
    """Computes the interaction of a study's table.

    Every seed must have a run in each of the four cells, and one only: a run that is lacking is an
    error, since leaving its seed out would be to choose among runs.

    Args:
        rows: Rows, one for each run (of a data frame: ``frame.to_dict("records")``). Rows of
            other arms or data are passed over. What else varies has to be fixed beforehand.
        value: Column of y.
        arms: Arm in question and the one that it is compared with.
        data: Two data sets, the one where y is expected to be larger first.
        columns: Names of the columns of the arm, the data and the seed.
        num_permutations: Number of random sign flips; all 2^n of them where these are not more.
        seed: Seed of the permutations.

    Raises:
        ValueError: If there are fewer than two seeds, a cell lacks a seed or has it twice, or a
            value is not finite.
    """
    arm_column, data_column, seed_column = columns
    cells: dict[tuple[Any, Any], dict[Any, float]] = {(a, d): {} for a in arms for d in data}
    for row in rows:
        cell = cells.get((row[arm_column], row[data_column]))
        if cell is None:
            continue
        where = f"{arm_column} {row[arm_column]}, {data_column} {row[data_column]}"
        run = f"{where}, {seed_column} {row[seed_column]}"
        if row[seed_column] in cell:
            raise ValueError(
                f"rows: expected one run for {run}, found two: fix what else varies, for example "
                "the weight, before the contrast"
            )
        cell[row[seed_column]] = number = float(row[value])
        if not np.isfinite(number):
            raise ValueError(f"rows: expected a finite {value} for {run}, found {number}")
    seeds = sorted(
        {s for cell in cells.values() for s in cell}, key=lambda s: (len(str(s)), str(s))
    )
    for (arm, which), cell in cells.items():
        if missing := [s for s in seeds if s not in cell]:
            raise ValueError(
                f"rows: expected every seed in each of the four cells, found none for {arm_column} "
                f"{arm}, {data_column} {which}, {seed_column} {missing[0]}: finish this run"
            )
    if len(seeds) < 2:
        raise ValueError(f"rows: expected at least two seeds of {arms} and {data}, found {seeds}")
    y = {key: np.array([cell[s] for s in seeds]) for key, cell in cells.items()}
    treated, control = (y[arm, data[0]] - y[arm, data[1]] for arm in arms)
    p_value = sign_flip_test(treated - control, num_permutations=num_permutations, seed=seed)
    return Contrast(treated, control, p_value)


def weighted_contrast(
    table: Mapping[Any, Mapping[Any, float]], weights: Mapping[Any, float], *, fill: bool = False
) -> Mean:
    """Computes a weighted sum over cells for each seed.

    Every seed must have a run in each of the cells, since leaving its seed out would be to choose
    among runs.

    Args:
        table: Values by cell and seed.
        weights: Weights by cell, which sum to 0.
        fill: Whether a run that is lacking has the mean of its cell. The estimate is then the
            contrast of the cells' means over the runs that are there.

    Returns:
        The contrast over seeds, in their order.

    Raises:
        ValueError: If the weights do not sum to 0, a cell lacks a seed or all of them, or a value
            is not finite.
    """
    if abs(sum(weights.values())) > 1e-9:
        raise ValueError(f"weights: expected some that sum to 0, found {sum(weights.values()):g}")
    seeds = sorted({seed for cell in weights for seed in table.get(cell, {})})
    sums = np.zeros(len(seeds))
    for cell, weight in weights.items():
        own = table.get(cell, {})
        missing = [seed for seed in seeds if seed not in own]
        if missing and not (fill and own):
            raise ValueError(
                f"table: expected every seed in each cell, found none for {cell}, seed "
                f"{missing[0]}: finish this run"
            )
        values = np.array([own.get(seed, math.nan) for seed in seeds], np.float64)
        if not np.isfinite(list(own.values())).all():
            raise ValueError(
                f"table: expected finite values, found one of {cell} that is not. Find the run "
                "without a value: to leave it out is to choose among runs"
            )
        values[np.isnan(values)] = np.mean(list(own.values()))
        sums += weight * values
    return Mean(tuple(sums.tolist()))


def sign_flip_test(
    differences: ArrayLike, *, num_permutations: int = _PERMUTATIONS, seed: int = 0
) -> float:
    """Tests whether paired differences are around 0, two-sided, by flipping their signs.

    A flip swaps the two arms of a pair. The test is exact where the arms may be swapped if there is
    no difference between them. It is SciPy's :func:`~scipy.stats.permutation_test`.

    Args:
        differences: Differences, one for each pair, shape ``(pairs,)``.
        num_permutations: Number of random flips; all 2^pairs of them where these are not more.
        seed: Seed of the flips.

    Returns:
        The share of flips, the given signs among them, whose mean is at least as far from 0.

    Raises:
        ValueError: If there is no difference, or one that is not finite.

    References:
        Phipson and Smyth (2010), *Permutation p-values should never be zero*.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            "differences: expected finite numbers of shape (pairs,), at least one, found "
            f"{np.count_nonzero(~np.isfinite(values))} that are not finite in shape {values.shape}"
            ". Find the runs without a value: to leave them out is to choose among runs"
        )
    result = stats.permutation_test(
        (values,),
        _distance,
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=num_permutations,
        batch=_AT_ONCE,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _distance(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Distance of a mean from 0; both sides count by it, in one draw of the flips."""
    distance: NDArray[np.float64] = np.abs(values.mean(axis))
    return distance


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusts the p-values of several hypotheses, so that any false rejection is at the level.

    Args:
        p_values: P-values by hypothesis.

    Returns:
        Adjusted, in the given order: reject those not above the level.

    Raises:
        ValueError: If a number does not lie in [0, 1].

    References:
        Holm (1979), *A simple sequentially rejective multiple test procedure*.
    """
    if wrong := {name: p for name, p in p_values.items() if not 0 <= p <= 1}:
        raise ValueError(f"p_values: expected numbers from 0 to 1, found {wrong}")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
