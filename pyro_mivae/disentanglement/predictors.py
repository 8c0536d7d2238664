"""Scores of models that predict a factor from all codes: DCI and explicitness."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pyro_mivae.checks import check_count, check_seed, optional
from pyro_mivae.disentanglement.inputs import (
    Factors,
    Floats,
    Ints,
    as_pair,
    plain,
)
from pyro_mivae.disentanglement.matrix import subsample
from pyro_mivae.disentanglement.scores import completeness, disentanglement
from pyro_mivae.extras import extra


@dataclass(frozen=True, eq=False, repr=False)
class DCI:
    """Disentanglement, completeness and informativeness.

    Attributes:
        importance: Importance of a code for a factor; a factor's column adds up to its
            informativeness, or to 0 if this is negative. Shape ``(codes, factors)``.
        informativeness: Quality of the prediction on held-out points, shape ``(factors,)``: R² for
            an ordered factor (0 where it is constant there); for a label the share of right guesses
            beyond those of always guessing the commonest, 1 if all are right.
    """

    importance: Floats
    informativeness: Floats

    def __repr__(self) -> str:
        codes, factors = self.importance.shape
        return (
            f"DCI of {codes} codes and {factors} factors, from 0 to 1\n  disentanglement "
            f"{self.disentanglement:.2f}, completeness {self.completeness:.2f}, informativeness "
            f"{self.informativeness.mean():.2f} (mean over factors)"
        )

    @property
    def disentanglement(self) -> float:
        """D of DCI, see :func:`~pyro_mivae.disentanglement.disentanglement`."""
        return disentanglement(self.importance)

    @property
    def completeness(self) -> float:
        """C of DCI, see :func:`~pyro_mivae.disentanglement.completeness`."""
        return completeness(self.importance)


def dci(
    codes: Any,
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    test: Any = None,
    max_points: int | None = 2000,
    seed: int = 0,
) -> DCI:
    """Measures how important each code is for predicting each factor by boosted trees.

    Columns are weighted by how well the factor can be predicted, so that importances of a model
    that predicts nothing do not count. Trees only see the order of a code, so that they are given
    its ranks, whatever its scale. They choose at random between codes with the same (or the
    reverse) order: such codes share their importance equally, which is its mean over these choices.

    Args:
        codes: Shape ``(N, codes)``.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.
        test: Whether each point is for testing, or else for training, booleans of shape ``(N,)``;
            None holds out a third of the points, of every label.
        max_points: Largest number of points, drawn at random; None for all. Time grows with it, and
            with the labels of a nominal factor.
        seed: Seed of the draws, the split and the trees.

    Raises:
        ValueError: If a label is not both among the points to train on and to test on, there are
            fewer than two of either, or `test` leaves a factor constant among them.

    References:
        Eastwood and Williams (2018), *A framework for the quantitative evaluation of disentangled
        representations*; with boosted trees, as Locatello et al. (2019), *Challenging common
        assumptions in the unsupervised learning of disentangled representations*.
    """
    optional(check_count)("max_points", max_points)
    check_seed("seed", seed)
    with extra("metrics"):
        from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    parts, table = _parts(codes, factors, nominal, test, max_points, seed)
    importance, informativeness = [], []
    for is_label, (x, y, x_test, y_test) in zip(table.nominal, parts, strict=True):
        # In double precision: trees round codes to single, and take close ones for one value.
        ranks = rankdata(np.concatenate([x, x_test]), method="dense", axis=0)
        x, x_test = np.split(ranks, [len(x)])
        if is_label:
            model = GradientBoostingClassifier(random_state=seed).fit(x, y)
            commonest = np.bincount(y_test.astype(np.int64)).max() / len(y_test)
            score = (float((model.predict(x_test) == y_test).mean()) - commonest) / (1 - commonest)
        else:
            model = GradientBoostingRegressor(random_state=seed).fit(x, y)
            score = _r2(y_test, model.predict(x_test))
        importance.append(_shared(model.feature_importances_, x) * max(0.0, score))
        informativeness.append(score)
    return DCI(np.stack(importance, 1), np.array(informativeness))


def explicitness(
    codes: Any,
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    test: Any = None,
    max_points: int | None = None,
    seed: int = 0,
) -> Floats:
    """Measures how well a *linear* model of all codes predicts each factor.

    Args:
        codes: Shape ``(N, codes)``.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.
        test: Whether each point is for testing, or else for training, booleans of shape ``(N,)``;
            None holds out a third of the points, of every label.
        max_points: Largest number of points, drawn at random; None for all.
        seed: Seed of the draws and the split.

    Returns:
        On points that were held out: R² of linear regression for an ordered factor (below 0 if it
        is worse than the mean); for a label the area under the ROC curve of logistic regression,
        each label against the rest, averaged, .5 at chance. Shape ``(factors,)``.

    Raises:
        ValueError: If a label is not both among the points to train on and to test on, there are
            fewer than two of either, or `test` leaves a factor constant among them.

    References:
        Ridgeway and Mozer (2018), *Learning deep disentangled embeddings with the F-statistic
        loss*, section 3, with R² for ordered factors.
    """
    optional(check_count)("max_points", max_points)
    check_seed("seed", seed)
    with extra("metrics"):
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.metrics import roc_auc_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    parts, table = _parts(codes, factors, nominal, test, max_points, seed)
    by_factor = []
    for is_label, (x, y, x_test, y_test) in zip(table.nominal, parts, strict=True):
        if not is_label:
            linear = make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)
            by_factor.append(_r2(y_test, linear.predict(x_test)))
            continue
        logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
        guesses = logistic.predict_proba(x_test)
        areas = [
            roc_auc_score(y_test == c, p) for c, p in zip(np.unique(y), guesses.T, strict=True)
        ]
        by_factor.append(float(np.mean(areas)))
    return np.array(by_factor)


def _r2(y: Floats, predicted: Floats) -> float:
    """R² of a prediction; 0 of points that are all equal, for which it is not defined."""
    from sklearn.metrics import r2_score

    return float(r2_score(y, predicted)) if y.min() < y.max() else 0.0


def _parts(
    codes: Any,
    factors: Any,
    nominal: Collection[str | int],
    test: Any,
    max_points: int | None,
    seed: int,
) -> tuple[list[tuple[Floats, ...]], Factors]:
    """Splits codes and values into those to train and to test on, by factor."""
    array, table = as_pair(codes, factors, nominal)
    rows = subsample(len(array), max_points, seed)
    given = None
    if test is not None:
        given = np.asarray(plain(test))
        if given.shape != (len(array),) or given.dtype != np.bool_:
            raise ValueError(
                f"test: expected booleans of the shape ({len(array)},), found {given.dtype} of the "
                f"shape {given.shape}"
            )
        given = given[rows]
    x = array[rows]
    parts: list[tuple[Floats, ...]] = []
    for name, y, is_label in zip(table.names, table.values[rows].T, table.nominal, strict=True):
        if is_label and len(set(y)) == len(y):
            raise ValueError(
                f"factors: expected labels that several points share, found '{name}' with "
                f"{len(y)} of {len(y)} labels with a single point. Leave identifiers out"
            )
        held = _third(y, is_label, seed) if given is None else given
        if min(held.sum(), (~held).sum()) < 2:
            raise ValueError(
                f"test: expected at least two points to train on and two to test on, found "
                f"{int((~held).sum())} and {int(held.sum())} of {len(rows)}"
            )
        if is_label and set(y[held]) != set(y[~held]):
            raise ValueError(
                f"factors[{name!r}]: expected every label among both the {int((~held).sum())} "
                f"points to train on and the {int(held.sum())} to test on: leave rare labels out, "
                f"or raise max_points ({max_points})"
            )
        for kind, points in (("train", y[~held]), ("test", y[held])):
            if given is not None and points.min() == points.max():
                raise ValueError(
                    f"factors[{name!r}]: expected a factor that varies among the points to {kind} "
                    f"on, found {len(points)} equal values: choose another test="
                )
        parts.append((x[~held], y[~held], x[held], y[held]))
    return parts, table


def _third(y: Floats, is_label: bool, seed: int) -> NDArray[np.bool_]:
    """A third of the points at random, of every label."""
    order: Ints = np.random.default_rng(seed).permutation(len(y))
    if is_label:
        order = order[np.argsort(y[order], kind="stable")]
    held = np.zeros(len(y), np.bool_)
    held[order[1::3]] = True
    return held


def _shared(importance: Floats, x: Floats) -> Floats:
    """Equal shares for columns that trees cannot distinguish."""
    ranks = rankdata(x, method="dense", axis=0)
    turned = ranks.max(0) + 1 - ranks
    first = (ranks != turned).argmax(0)
    each = np.arange(x.shape[1])
    ranks = np.where(ranks[first, each] > turned[first, each], turned, ranks)
    _, group, counts = np.unique(ranks, axis=1, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    equal_shares: Floats = (np.bincount(group, weights=importance) / counts)[group]
    return equal_shares
