"""Information inside groups: what the null keeps of them, also where bins depend on the group."""

import math

import numpy as np
import pytest

from pyro_mivae.disentanglement import (
    bin_columns,
    ceiling,
    evaluate,
    mi_matrix,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def many_small(rng):
    """Ranks in a group of about ten leave out bins, which ones depends on its size."""
    return rng.integers(0, 200, 2000), rng.normal(size=(2000, 2))


def single_points(rng):
    """A point that is alone is in the middle bin."""
    return np.concatenate([np.arange(1000), np.full(1000, 1000)]), rng.normal(size=(2000, 2))


def constant_in_some(rng):
    group = rng.integers(0, 10, 5000)
    return group, rng.normal(size=(5000, 2)) * (group >= 3)[:, None]


GROUPED = pytest.mark.parametrize("make", [many_small, single_points, constant_in_some])


@GROUPED
def test_independent_points_in_groups_share_nothing(make, rng):
    group, both = make(rng)
    found = mi_matrix(both[:, :1], both[:, 1:], within=group)
    error = math.sqrt(2 * 19 * 19) / (2 * len(group))  # of the plug-in estimate
    assert abs((found.plug_in - found.bias).item()) < 4 * error
    assert not found.live.any()


@GROUPED
def test_the_ceiling_of_independent_factors_in_groups(make, rng):
    group, both = make(rng)
    found = ceiling(both, within=group)
    error = math.sqrt(2 * 19 * 19) / (2 * len(group))
    assert abs((found.plug_in - found.bias)[0, 1]) < 4 * error


def test_the_ceiling_is_ranked_inside_groups(rng):
    """Two factors that share only the group are independent inside it."""
    group = rng.integers(0, 3, 3000)
    factors = rng.normal(size=(3000, 2)) + 3 * group[:, None]
    assert ceiling(factors).values[0, 1] > 0.5
    assert ceiling(factors, within=group).values[0, 1] < 4 * math.sqrt(2 * 19 * 19) / 6000


def test_the_null_permutes_inside_groups_only():
    """Two groups of two: half of the four orders keep or turn both, and all information.

    Of the 24 orders of all points a third do.
    """
    points = {"within": [0, 1, 1, 0], "nominal": [0], "bins": 2, "num_permutations": 4000}
    found = mi_matrix(np.array([[0.0], [0.0], [1.0], [1.0]]), [[0], [0], [1], [1]], **points)
    assert found.plug_in.item() == pytest.approx(math.log(2))
    error = math.log(2) / 2 / math.sqrt(4000)
    assert abs(found.bias.item() - math.log(2) / 2) < 4 * error


def test_the_group_itself_tells_nothing_inside_groups(rng):
    """Every order inside groups has the same counts."""
    group = rng.integers(0, 200, 2000)
    found = mi_matrix(rng.normal(size=(2000, 1)), group[:, None], nominal=[0], within=group)
    assert found.plug_in.item() > 0.1
    assert found.bias.item() == pytest.approx(found.plug_in.item(), abs=1e-12)
    assert not found.live.any()


def test_bins_inside_groups_have_the_given_number_and_kind(rng):
    values, group = rng.exponential(size=(90, 2)), np.repeat(["b", "c", "a"], [20, 30, 40])
    for settings in ({"bins": 4}, {"bins": 7, "binning": "width"}):
        found = bin_columns(values, within=group, **settings)
        for name in "abc":
            by_hand = bin_columns(values[group == name], **settings)
            np.testing.assert_array_equal(found[group == name], by_hand)


def test_factors_that_are_constant_inside_labels_have_no_gap_there(rng):
    digit, style = np.arange(80) % 2, rng.normal(size=80)
    factors = {"style": style, "digit": digit, "again": 3 * digit}
    found = evaluate(np.stack([style, digit], 1), factors, nominal="digit")
    assert found["gap_within"].isnull().values.tolist() == [False, True, True]
    assert found["mig_within"] == found["gap_within"][0]
    labels = np.arange(114) % 2  # log 114 - (114 log 114) / 114 is not 0 but for rounding
    assert ceiling({"digit": labels}, within=labels, num_permutations=0).entropies.item() == 0
    del factors["style"]
    alone = evaluate(style[:, None], factors, nominal="digit")
    assert alone["gap_within"].isnull().all()
    assert np.isnan(alone["mig_within"])
