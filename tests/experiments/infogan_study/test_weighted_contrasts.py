"""Contrasts of cells over seeds: by hand, by an independent library, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.contrasts import weighted_contrast
from experiments.estimates import Mean, additive_model

TABLE = {"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {2: 3.0, 0: 1.0, 1: 0.0}, "c": {0: 9.0}}
WEIGHTS = {"a": 1.0, "b": -1.0}


def test_a_contrast_is_a_weighted_sum_of_each_seed():
    mean = weighted_contrast(TABLE, WEIGHTS)
    assert mean.values == (0.0, 2.0, 1.0)
    known = stats.ttest_1samp(mean.values, 0.0)
    assert mean.p_value == pytest.approx(known.pvalue)
    assert mean.interval(0.9) == pytest.approx(known.confidence_interval(0.9))


def test_p_values_without_spread():
    assert Mean((1.0, 1.0)).p_value == 0.0
    assert Mean((0.0, 0.0)).p_value == 1.0
    assert math.isnan(Mean((1.0,)).p_value)


def test_a_run_that_is_lacking_has_the_mean_of_its_cell_or_is_an_error():
    lacking = {**TABLE, "b": {0: 1.0, 1: 0.0}}
    with pytest.raises(ValueError, match="found none for b, seed 2: finish this run"):
        weighted_contrast(lacking, WEIGHTS)
    filled = weighted_contrast(lacking, WEIGHTS, fill=True)
    assert filled.values == (0.0, 2.0, 3.5)
    assert filled.mean == pytest.approx(7 / 3 - 0.5)  # of the cells' means
    with pytest.raises(ValueError, match="found none for d, seed 0: finish"):
        weighted_contrast(TABLE, {"a": 1.0, "d": -1.0}, fill=True)
    with pytest.raises(ValueError, match="found one of a that is not"):
        weighted_contrast({**TABLE, "a": {0: math.nan, 1: 0.0, 2: 0.0}}, WEIGHTS)
    with pytest.raises(ValueError, match="expected some that sum to 0, found 1"):
        weighted_contrast(TABLE, {"a": 2.0, "b": -1.0})


def test_in_a_whole_table_the_model_has_the_estimate_of_the_seeds():
    rng = np.random.default_rng(0)
    table = {cell: {s: rng.normal() for s in range(6)} for cell in "abcd"}
    weights = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}
    model = additive_model(table, weights)
    assert model.value == pytest.approx(weighted_contrast(table, weights).mean)
    assert model.degrees == 24 - 9
    # Balanced, all leverages are 9/24; HC3 is then the sandwich of equal factors.
    y = pd.DataFrame(table)
    rest = y.sub(y.mean(), axis=1).sub(y.mean(axis=1), axis=0) + y.to_numpy().mean()
    sandwich = (
        sum((weights[cell] / 6) ** 2 * (rest[cell] ** 2).sum() for cell in table)
        / (1 - 9 / 24) ** 2
    )
    assert model.standard_error == pytest.approx(math.sqrt(sandwich))
    low, high = model.interval()
    assert low < model.value < high
    assert 0 < model.p_value < 1


def test_the_model_compares_cells_of_other_seeds_as_if_they_had_all():
    """Values that are a cell's plus a seed's: whatever is lacking, the contrast is the cells'."""
    table = {
        "a": {0: 1.0 + 5.0, 1: 1.0 + 7.0, 2: 1.0},
        "b": {1: 3.0 + 7.0, 2: 3.0},
        "c": {0: 0.5 + 5.0, 1: 0.5 + 7.0},
    }
    model = additive_model(table, {"a": 1.0, "b": -0.5, "c": -0.5})
    assert model.value == pytest.approx(1.0 - 1.5 - 0.25)
    assert model.standard_error == pytest.approx(0.0, abs=1e-9)
    alone = additive_model({"a": {0: 1.0}, "b": {0: 2.0}}, WEIGHTS)
    assert alone.value == -1.0
    assert math.isnan(alone.standard_error)
