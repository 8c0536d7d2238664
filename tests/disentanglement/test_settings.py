"""Arguments reach what they are for: levels, seeds, bins, and the points that are drawn."""

import math

import numpy as np
import pytest

from pyro_mivae.disentanglement import (
    ceiling,
    dci,
    evaluate,
    evaluation,
    explicitness,
    factor_vae_score,
    ksg_matrix,
    matrix,
    mi_matrix,
    mutual_information_gap,
    traversal_effects,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_subsample_is_drawn_from_all_points():
    drawn = matrix.subsample(10_000, 500, 0)
    assert (np.diff(drawn) > 0).all()  # in their order, none twice
    assert len(drawn) == 500
    error = 10_000 / math.sqrt(12 * 500)
    assert abs(drawn.mean() - 5000) < 4 * error
    assert not np.array_equal(drawn, matrix.subsample(10_000, 500, 1))
    np.testing.assert_array_equal(matrix.subsample(500, 500, 0), np.arange(500))


def test_the_level_is_the_share_of_noise_that_is_not_live(rng):
    codes, factors = rng.normal(size=(200, 300)), rng.normal(size=(200, 2))
    found = mi_matrix(codes, factors, bins=5, num_permutations=100, level=0.6)
    # Also the quantile of a hundred permutations has an error.
    error = math.sqrt(0.6 * 0.4 * (1 / 300 + 1 / 100))
    assert abs(found.live.mean() - 0.4) < 4 * error


def test_every_label_is_held_out_in_its_share():
    """Twenty labels of three points: one of each is to test on."""
    label = np.repeat(np.arange(20), 3)
    found = explicitness(np.eye(20)[label], {"digit": label}, nominal=["digit"])
    assert found.item() == pytest.approx(1)


def test_evaluate_passes_its_settings_on(rng, monkeypatch):
    for name in ("factor_vae_score", "beta_vae_score"):
        monkeypatch.setattr(evaluation, name, lambda encode, sampler, *, seed: seed)
    factors = rng.exponential(size=(240, 2))
    codes = factors + rng.normal(size=(240, 2))
    bins = {"bins": 5, "binning": "width", "seed": 3, "num_permutations": 100}
    draws = {"max_points": 60, "seed": 3}
    found = evaluate(codes, factors, **bins, max_points=60, encode=len, sampler=len)
    np.testing.assert_array_equal(found["mi"], mi_matrix(codes, factors, **bins).values)
    for name in bins:
        less = {key: value for key, value in bins.items() if key != name}
        assert not np.array_equal(found["mi"], mi_matrix(codes, factors, **less).values)
    best = ceiling(factors, **bins)
    gaps = mutual_information_gap(best.live_values, best.entropies)
    np.testing.assert_array_equal(found["gap_ceiling"], gaps)
    np.testing.assert_array_equal(found["mi_ksg"], ksg_matrix(codes, factors, **draws))
    trees = dci(codes, factors, **draws)
    np.testing.assert_array_equal(found["dci_importance"], trees.importance)
    np.testing.assert_array_equal(found["informativeness"], trees.informativeness)
    np.testing.assert_array_equal(found["explicitness"], explicitness(codes, factors, seed=3))
    assert found["factor_vae"] == found["beta_vae"] == 3


def test_evaluate_where_no_factor_is_live_itself():
    """A single odd point of forty is placed alike by one permutation in forty: no evidence."""
    factors = np.eye(40)[:, [0, 20]]
    found = evaluate(np.stack([np.arange(40), np.arange(40) % 7], 1), factors)
    assert not ceiling(factors).live.any()
    assert found["modularity_ceiling"] == found["mig_ceiling"] == 0


def test_a_code_of_any_scale_votes():
    def sampler(number, rng):
        return rng.uniform(size=(number, 2))

    settings = {"num_train": 100, "num_test": 100}
    assert factor_vae_score(lambda f: f * [1e7, 1], sampler, **settings) == 1
    assert factor_vae_score(lambda f: f * [1e7, 0] + [0, 0.1], sampler, **settings) == 0.5


def test_weak_dependence_of_factors_is_refused():
    """Normal factors with a correlation of .25 share .032 nat."""

    def tied(number, rng):
        first, second = rng.normal(size=(2, number))
        return np.stack([first, 0.25 * first + math.sqrt(1 - 0.25**2) * second], 1)

    with pytest.raises(ValueError, match=r"found 0\.0[23]\d nats between factors 0 and 1"):
        factor_vae_score(lambda factors: factors, tied)


def test_lines_explain_traversals_of_any_length():
    """Straight lines of other slopes, with other steps missing."""
    steps = np.arange(6.0)
    measured = (np.array([1.0, 3.0])[:, None] * steps)[None, ..., None].copy()
    measured[0, 0, 3:] = measured[0, 1, :1] = np.nan
    found = traversal_effects(steps, measured, scale=[1.0])
    assert found.slope.item() == pytest.approx(2)
    assert found.linearity.item() == pytest.approx(1)
