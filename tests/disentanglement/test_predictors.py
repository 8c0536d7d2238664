"""SAP, DCI and explicitness with labels and noise, and the scores that set factors."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from pyro_mivae.disentanglement import (
    beta_vae_score,
    dci,
    explicitness,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    sap,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_sap_of_a_label(rng):
    label = rng.integers(0, 2, 500)
    codes = np.stack([label + rng.normal(size=500), rng.normal(size=500)], 1)
    as_number, as_label = sap(codes, label[:, None]), sap(codes, label[:, None], nominal=[0])
    np.testing.assert_allclose(as_number, as_label)
    three = rng.integers(0, 3, 500)
    spread = np.array([0.0, 5.0, 1.0])
    codes[:, 0] = spread[three]  # a function of the label, in no order
    found = sap(codes, three[:, None], nominal=[0])
    assert found.item() > 0.97
    assert sap(codes, three[:, None]).item() < 0.5
    assert sap(codes + 1e6, three[:, None]).item() == pytest.approx(
        sap(codes, three[:, None]).item(), abs=1e-6
    )


def test_dci_of_a_label_and_noise(rng):
    label, style = rng.integers(0, 3, 600), rng.normal(size=600)
    codes = np.stack([label + 0.1 * rng.normal(size=600), style, rng.normal(size=600)], 1)
    factors = {"style": style, "digit": label, "unseen": rng.normal(size=600)}
    found = dci(codes, factors, nominal=["digit"])
    assert found.informativeness[:2] == pytest.approx([1, 1], abs=0.02)
    assert found.informativeness[2] < 0.05
    # What cannot be predicted has no weight.
    np.testing.assert_allclose(found.importance.sum(0), found.informativeness.clip(0), atol=1e-9)
    assert found.disentanglement > 0.95
    assert found.completeness > 0.95


def test_dci_shares_between_codes_of_one_order_and_is_repeatable(rng):
    style = rng.normal(size=300)
    codes = np.stack([style, np.exp(style), -(style**3), rng.normal(size=300)], 1)
    factors = np.stack([style, rng.normal(size=300)], 1)
    found = dci(codes, factors)
    assert np.ptp(found.importance[:3, 0]) < 1e-12
    assert found.importance[0, 0] > 0.3
    np.testing.assert_array_equal(found.importance, dci(codes, factors).importance)
    other = dci(codes, factors, seed=1).importance
    assert not np.array_equal(found.importance, other)


def test_chance_of_a_label_is_zero(rng):
    """Two of three points have one label: guessing it is right in two of three, and worth 0."""
    label = np.arange(600) % 3 == 0
    found = dci(np.zeros((600, 2)), {"a": label * 1, "b": rng.normal(size=600)}, nominal=["a"])
    assert found.informativeness[0] == pytest.approx(0, abs=1e-9)


def test_area_under_the_curve_has_a_closed_form(rng):
    label = rng.integers(0, 2, 20_000)
    shifts = np.array([1.0, 0.0])
    codes = shifts * label[:, None] + rng.normal(size=(20_000, 2))
    found = explicitness(codes, label[:, None], nominal=[0]).item()
    assert found == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.02)
    ten = rng.integers(0, 10, 3000)
    noise = explicitness(rng.normal(size=(3000, 2)), ten[:, None], nominal=[0]).item()
    assert noise == pytest.approx(0.5, abs=0.03)


def test_explicitness_is_of_points_that_were_held_out(rng):
    codes, factor = rng.normal(size=(60, 30)), rng.normal(size=60)
    assert explicitness(codes, {"x": factor}).item() < 0


@pytest.mark.parametrize("score", [dci, explicitness])
def test_points_to_test_on(score, rng):
    label = np.array([0] * 20 + [1] * 20 + [2])
    codes = rng.normal(size=(41, 2))
    with pytest.raises(ValueError, match="every label among both the 27 points to train on"):
        score(codes, {"digit": label}, nominal=["digit"])
    with pytest.raises(ValueError, match="test: expected booleans of the shape"):
        score(codes, {"digit": label}, test=np.arange(41))


def test_scores_refuse_what_they_cannot_tell():
    with pytest.raises(ValueError, match="at least two factors"):
        modularity([[1.0]])
    with pytest.raises(ValueError, match="at least 0, found -1"):
        modularity([[1.0, -1.0]])
    gap = mutual_information_gap(np.zeros((0, 2)), [1.0, 1.0])  # no live code
    np.testing.assert_array_equal(gap, 0)
    assert mutual_information_gap([[0.5, 0.0]], [1.0, 1.0]).tolist() == [0.5, 0]


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_setting_factors_needs_independent_ones(score):
    with pytest.raises(ValueError, match="measured factors do not allow"):
        score(lambda factors: factors, None)

    def tied(number, rng):
        area = rng.normal(size=(number, 1))
        return np.hstack(
            [area, area + 2 * rng.normal(size=(number, 1)), rng.normal(size=area.shape)]
        )

    with pytest.raises(ValueError, match="nats between factors 0 and 1"):
        score(lambda factors: factors, tied)
    with pytest.raises(ValueError, match=r"expected the shape \(20000, factors\)"):
        score(lambda factors: factors, lambda number, rng: rng.normal(size=(number, 1)))


def uniform(number, rng):
    return rng.uniform(-1, 1, (number, 3))


def test_setting_factors_finds_axes_of_any_size_with_noise_and_a_dead_code():
    rng = np.random.default_rng(1)

    def axes(factors):
        """The first code's noise is a hundred times as large as the others' signal."""
        noisy = factors + 0.1 * rng.normal(size=factors.shape)
        return np.hstack([[1000.0, 1.0, 1.0] * noisy, np.full((len(factors), 1), 0.1)])

    assert factor_vae_score(axes, uniform) == 1
    assert beta_vae_score(axes, uniform, num_train=300, num_test=300) == 1


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_setting_factors_is_scored_on_fresh_draws(score):
    """Forty codes of noise fit thirty points well, and predict nothing."""
    rng = np.random.default_rng(2)
    found = score(
        lambda factors: rng.normal(size=(len(factors), 40)),
        uniform,
        batch_size=8,
        num_train=30,
        num_test=1500,
    )
    assert found == pytest.approx(1 / 3, abs=5 * math.sqrt(2 / 9 / 1500))


@pytest.mark.parametrize(
    "change", [lambda c: c * 1e-9, lambda c: c * 1e200, lambda c: 1e7 + c, lambda c: c * [1, 1e-12]]
)
def test_dci_knows_no_scale(rng, change):
    """Trees in single precision saw no order in codes that are close to each other."""
    factors = rng.normal(size=(400, 2))
    codes = factors + 0.1 * rng.normal(size=(400, 2))
    expected, found = dci(codes, factors), dci(change(codes), factors)
    np.testing.assert_allclose(found.importance, expected.importance, atol=1e-12)
    assert found.informativeness.min() > 0.95


@pytest.mark.parametrize("score", [dci, explicitness])
@pytest.mark.parametrize(("held", "words"), [(True, "to test on"), (False, "to train on")])
def test_a_factor_that_is_constant_in_a_part_is_refused(rng, score, held, words):
    """R² of a constant would be minus infinity, but for rounding."""
    factors = rng.normal(size=(60, 2))
    test = np.arange(60) < 20
    factors[test == held, 1] = 0.3
    with pytest.raises(ValueError, match=rf"factors\['1'\].*varies among the points {words}"):
        score(factors, factors, test=test)
