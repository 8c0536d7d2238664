"""Two independent factors of four levels, every combination 25 times: all scores are known.

The corrections are off: 400 points are the whole population here, not a sample of it.
"""

import math

import numpy as np
import pytest

from pyro_mivae.disentanglement import (
    beta_vae_score,
    completeness,
    dci,
    disentanglement,
    explicitness,
    factor_vae_score,
    mi_matrix,
    modularity,
    mutual_information_gap,
    sap,
)

FACTORS = np.array([(a, b) for a in range(4) for b in range(4)] * 25, dtype=float)
LEVELS = np.array([1, math.e**3, math.e**6, math.e**9])
CODES = {  # columns as functions of the factors; then the scores in the table's order
    "both": (lambda a, b: (a, b), 1, 1, 1, 1, 1, 1, 1),
    "double": (lambda a, b: (a, a, b), 0.5, 1, 0.5, 1, 1 - math.log(2) / math.log(9), 1, 1),
    "both twice": (lambda a, b: (a, b, a, b), 0, 1, 0, 1, 0.5, 1, 1),
    "dead": (lambda a, b: (a, b, 0 * a), 1, 2 / 3, 1, 1, 1, 1, 1),
    "rotated": (lambda a, b: (a + b, a - b), 0, 0, 0, 0, 0, 0.5, 0.5),
    "packed": (lambda a, b: (4 * a + b, 0 * a), 1, 0, 0.5, 0, 1, 0.5, 1),
    "halved": (lambda a, b: (a >= 2, b), 0.75, 1, 0.9, 1, 1, 1, 1),
    "warped": (lambda a, b: (np.exp(3 * a), b), 1, 1, None, 1, 1, 1, 1),
    "nothing": (lambda a, b: (0 * a, 0 * a), 0, 0, 0, 0, 0, 0, 0.5),
}
CODES["warped"] = (
    *CODES["warped"][:3],
    (1 + np.corrcoef(LEVELS, np.arange(4))[0, 1] ** 2) / 2,
    *CODES["warped"][4:],
)
CASES = pytest.mark.parametrize("name", CODES)


def encoder(name):
    return lambda factors: np.stack([1.0 * c for c in CODES[name][0](*factors.T)], 1)


def expected(name):
    keys = ("mig", "modularity", "sap", "disentanglement", "completeness", "factor", "beta")
    return dict(zip(keys, CODES[name][1:], strict=True))


def plain(name, binning="rank"):
    return mi_matrix(encoder(name)(FACTORS), FACTORS, binning=binning, num_permutations=0)


def sampler(number, rng):
    return rng.integers(0, 4, (number, 2))


@CASES
def test_information(name):
    found = plain(name)
    np.testing.assert_allclose(found.entropies, math.log(4))
    assert found.live.all()
    gap = mutual_information_gap(found.values, found.entropies)
    assert gap.mean() == pytest.approx(expected(name)["mig"], abs=1e-12)
    score = modularity(found.values).mean()
    assert score == pytest.approx(expected(name)["modularity"], abs=1e-12)


def test_rotated_codes_carry_a_third_of_each_factor():
    np.testing.assert_allclose(plain("rotated").values / math.log(4), 0.3278, atol=5e-5)


def test_equal_width_bins_lose_a_warped_code():
    found = plain("warped", "width")
    gap = mutual_information_gap(found.values, found.entropies)
    assert gap.mean() == pytest.approx(0.7028, abs=5e-5)


def test_a_dead_code_is_dropped():
    found = mi_matrix(encoder("dead")(FACTORS), FACTORS)
    assert found.live.tolist() == [True, True, False]
    assert found.num_live == 2
    assert modularity(found.live_values).mean() == pytest.approx(1, abs=1e-3)
    assert mi_matrix(encoder("nothing")(FACTORS), FACTORS).num_live == 0


@CASES
def test_sap(name):
    score = sap(encoder(name)(FACTORS), FACTORS).mean()
    assert score == pytest.approx(expected(name)["sap"], abs=1e-12)


def test_sap_of_the_warped_code():
    assert expected("warped")["sap"] == pytest.approx(0.8199, abs=5e-5)


def in_population(name):
    """Codes, factors and the points to test on, all of those to train on."""
    codes = encoder(name)(FACTORS)
    return np.tile(codes, (2, 1)), np.tile(FACTORS, (2, 1)), np.arange(800) >= 400


@CASES
def test_dci(name):
    codes, factors, test = in_population(name)
    found = dci(codes, factors, test=test)
    # Only trees that have to choose between equally good mixtures are not exact.
    near = 0.01 if name in ("rotated", "packed") else 1e-6
    assert found.disentanglement == pytest.approx(expected(name)["disentanglement"], abs=near)
    assert found.completeness == pytest.approx(expected(name)["completeness"], abs=near)


@pytest.mark.parametrize(
    ("name", "known"),
    [("both", (1, 1)), ("rotated", (1, 1)), ("packed", (16 / 17, 1 / 17)), ("halved", (0.8, 1))],
)
def test_explicitness_of_linear_codes(name, known):
    codes, factors, test = in_population(name)
    np.testing.assert_allclose(explicitness(codes, factors, test=test), known, atol=1e-9)


@CASES
def test_fixed_factors(name):
    assert factor_vae_score(encoder(name), sampler) == expected(name)["factor"]
    # Of 800 points that carry no hint, half are right but for four standard errors.
    near = 4 * math.sqrt(0.25 / 800) if name == "rotated" else 0
    score = beta_vae_score(encoder(name), sampler)
    assert score == pytest.approx(expected(name)["beta"], abs=near)


def test_formulas():
    twice = np.hstack([np.eye(5), np.eye(5)])
    assert disentanglement(twice) == pytest.approx(1 - math.log(2) / math.log(10))
    assert disentanglement(twice) == pytest.approx(0.69897, abs=5e-6)
    assert completeness(twice) == 1
    mixed = [[0.75, 0.25], [0.25, 0.75]]
    assert disentanglement(mixed) == pytest.approx(0.188722, abs=5e-7)
    assert completeness(mixed) == pytest.approx(0.188722, abs=5e-7)
    assert modularity([[2, 1, 0]]) == pytest.approx(0.875)
    # Rows count as much as they are important, and a single code is complete.
    assert disentanglement([[3, 0], [0.5, 0.5]]) == pytest.approx(0.75)
    assert completeness([[2.0, 1.0]]) == 1
