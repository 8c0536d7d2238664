"""Information from counts: another implementation, closed forms, its bias, and live codes."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import laplace, norm
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from pyro_mivae.disentanglement import (
    bin_columns,
    ceiling,
    ksg_matrix,
    matrix,
    mi_matrix,
    modularity,
    mutual_information_gap,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def correlated(rng, rho, number):
    x = rng.normal(size=(number, 2))
    x[:, 1] = rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]
    return x[:, :1], x[:, 1:]


def gaussian(rho):
    return -0.5 * math.log(1 - rho**2)


def test_plug_in_is_that_of_scikit_learn(rng):
    codes, factors = rng.integers(0, 7, (500, 3)), rng.integers(0, 5, (500, 2))
    factors[:, 1] = (factors[:, 1] + codes[:, 0]) % 4
    found = mi_matrix(codes, factors, nominal=[0, 1], num_permutations=0)
    known = [[mutual_info_score(c, f) for f in factors.T] for c in codes.T]
    np.testing.assert_allclose(found.plug_in, known, atol=1e-12)
    shares = np.bincount(factors[:, 0]) / 500
    assert found.entropies[0] == pytest.approx(-(shares * np.log(shares)).sum())


def test_information_of_a_normal_pair(rng):
    """Equal-count bins are a grid of Gaussian quantiles; the information in them is computed."""
    rho = 0.8
    codes, factors = correlated(rng, rho, 20_000)
    found = mi_matrix(codes, factors).values.item()
    edges, fine = norm.ppf(np.linspace(0, 1, 21)), (np.arange(4000) + 0.5) / 4000
    step = norm.cdf((edges - rho * norm.ppf(fine)[:, None]) / math.sqrt(1 - rho**2))
    cells = np.diff(step, axis=1).reshape(20, 200, 20).mean(1) / 20
    binned = (cells * np.log(400 * cells)).sum()
    assert binned < gaussian(rho)
    # The standard error of the mean log ratio; the correction takes off a little too much.
    error = math.sqrt((cells * np.log(400 * cells) ** 2).sum() - binned**2) / math.sqrt(20_000)
    assert abs(found - binned) < 4 * error


def test_neighbours_agree_without_bins(rng):
    codes, factors = correlated(rng, 0.8, 2000)
    assert ksg_matrix(codes, factors).item() == pytest.approx(gaussian(0.8), abs=0.06)
    label = rng.integers(0, 2, 2000)
    code = 6 * label[:, None] + rng.normal(size=(2000, 2)) * [1, 1e6]
    found = ksg_matrix(code, {"label": np.array(["no", "yes"])[label]}, nominal=["label"])
    np.testing.assert_allclose(found, [[math.log(2)], [0]], atol=0.03)
    classif = mutual_info_classif(code, label, n_neighbors=5, random_state=0)
    np.testing.assert_array_equal(found[:, 0], classif)
    few = ksg_matrix(codes, factors, max_points=200).item()
    assert few != ksg_matrix(codes, factors, max_points=None).item()


def test_bias_is_that_of_the_formula_and_gone(rng):
    codes, factors = rng.normal(size=(2000, 30)), {"x": rng.normal(size=2000)}
    found = mi_matrix(codes, factors)
    formula = 19 * 19 / (2 * 2000)  # the first order
    np.testing.assert_allclose(found.bias, formula, rtol=0.1)
    error = math.sqrt(2 * 19 * 19) / (2 * 2000) / math.sqrt(30)
    assert abs((found.plug_in - found.bias).mean()) < 4 * error
    assert (found.values >= 0).all()
    assert (found.values == 0).any()


def test_noise_is_modular_until_it_is_corrected(rng):
    """The bias is larger for the factor with more levels, which looks like specialising."""
    codes = rng.normal(size=(5000, 10))
    factors = np.stack([rng.integers(0, 3, 5000), rng.integers(0, 32, 5000)], 1)
    plain = mi_matrix(codes, factors, nominal=[0, 1], num_permutations=0)
    assert modularity(plain.values).mean() > 0.98
    corrected = mi_matrix(codes, factors, nominal=[0, 1])
    assert corrected.num_live <= 1
    assert plain.num_live == 10


def test_one_code_of_noise_in_a_hundred_is_live(rng):
    codes = rng.normal(size=(200, 1000))
    found = mi_matrix(codes, rng.normal(size=(200, 2)), bins=5, num_permutations=400)
    error = math.sqrt(0.01 * 0.99 / 1000)
    assert abs(found.live.mean() - 0.01) < 5 * error


def test_a_weak_code_is_live(rng):
    codes, factors = correlated(rng, 0.2, 10_000)
    assert mi_matrix(codes, factors).live.all()


def test_blocks_of_codes_have_the_same_permutations(rng, monkeypatch):
    codes, factors = rng.normal(size=(300, 7)), rng.normal(size=(300, 2))
    whole = mi_matrix(codes, factors)
    monkeypatch.setattr(matrix, "_ELEMENTS", 3 * factors.size)
    parts = mi_matrix(codes, factors)
    for name in ("values", "bias", "live"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_rank_bins_are_equal_and_keep_levels(rng):
    binned = bin_columns(rng.normal(size=(1000, 2)))
    assert (np.bincount(binned[:, 0]) == 50).all()
    levels = np.repeat([-1.0, 0.5, 7.0], [50, 200, 750])[:, None]
    assert len(np.unique(bin_columns(levels))) == 3
    np.testing.assert_array_equal(bin_columns(levels * 0, binning="width"), 0)


def test_increasing_maps_change_nothing_by_rank_and_much_by_width(rng):
    codes, factors = correlated(rng, 0.95, 5000)
    warped = np.exp(3 * codes)
    same = [mi_matrix(c, factors).values.item() for c in (codes, warped)]
    assert same[0] == same[1]
    plain, wide = (mi_matrix(c, factors, binning="width").values.item() for c in (codes, warped))
    assert wide < plain / 2
    codes[0] = 1000
    assert mi_matrix(codes, factors, binning="width").values.item() < plain / 100
    assert mi_matrix(codes, factors).values.item() == pytest.approx(same[0], abs=0.01)


def test_what_the_marginals_do_to_a_gap(rng):
    """The numbers that `bin_columns` quotes."""
    base = rng.normal(size=(10_000, 2))
    noisy = 0.99 * base + math.sqrt(1 - 0.99**2) * rng.normal(size=base.shape)
    marginals = (norm.cdf, lambda x: x, lambda x: laplace.ppf(norm.cdf(x)))
    for warp, width, outlier in zip(marginals, (0.58, 0.53, 0.44), (0.20, 0.22, 0.11), strict=True):
        codes = warp(noisy)
        spoilt = codes.copy()
        spoilt[0] = 10 * np.abs(codes).max()
        for c, binning, known in (
            (codes, "rank", 0.58),
            (spoilt, "rank", 0.58),
            (codes, "width", width),
            (spoilt, "width", outlier),
        ):
            found = mi_matrix(c, norm.cdf(base), binning=binning)
            gap = mutual_information_gap(found.values, found.entropies).mean()
            assert gap == pytest.approx(known, abs=0.02)


def test_inside_groups_what_both_have_of_the_group_is_gone(rng):
    group = rng.integers(0, 5, 10_000)
    style = rng.normal(size=10_000)
    codes = np.stack([group + 0.2 * rng.normal(size=10_000), style + 3 * group], 1)
    factors = {"slant": style + 2 * group}
    plain = mi_matrix(codes, factors).values[:, 0]
    inside = mi_matrix(codes, factors, within=np.array(list("abcde"))[group]).values[:, 0]
    assert plain[0] > 0.5
    assert inside[0] < 0.01
    assert inside[1] == pytest.approx(math.log(20), abs=0.03)  # the same order in every group


def test_ceiling(rng):
    style = rng.normal(size=(5000, 2))
    digit = rng.integers(0, 10, 5000)
    free = {"thickness": style[:, 0], "slant": style[:, 1], "digit": digit}
    tied = free | {"slant": style[:, 0] + style[:, 1]}
    high, low = (ceiling(f, nominal=["digit"]) for f in (free, tied))
    migs = [mutual_information_gap(m.live_values, m.entropies).mean() for m in (high, low)]
    assert 0.97 < migs[0] < 1
    assert migs[1] < migs[0] - 0.05
    assert high.names == ("thickness", "slant", "digit")
    exact = ceiling(free, nominal=["digit"], num_permutations=0)
    np.testing.assert_allclose(np.diag(exact.values), exact.entropies)


def test_tensors_and_arrays_are_the_same(rng):
    codes, factors = (part.astype(np.float32) for part in correlated(rng, 0.5, 400))
    known = mi_matrix(codes, {"f": factors[:, 0]})
    tensor = torch.tensor(codes, requires_grad=True)
    found = mi_matrix(tensor, {"f": torch.tensor(factors[:, 0])}, within=torch.zeros(400))
    np.testing.assert_array_equal(known.values, found.values)
    rough = mi_matrix(tensor.bfloat16(), torch.tensor(factors).bfloat16())
    assert rough.values.item() == pytest.approx(known.values.item(), abs=0.05)


def test_strings_as_labels(rng):
    label = np.array(["oval", "box", "heart"])[rng.integers(0, 3, 600)]
    code = 1.0 * (label == "box")
    found = mi_matrix(code[:, None], {"shape": label}, nominal=["shape"], num_permutations=0)
    share = (label == "box").mean()
    known = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert found.values.item() == pytest.approx(known)


@pytest.mark.parametrize(
    ("codes", "factors", "options", "words"),
    [
        (np.zeros(9), np.eye(9), {}, r"codes: expected numbers in 2 dimensions.*codes\[:, None\]"),
        (np.eye(9), np.eye(8), {}, "as many rows, found 9 and 8"),
        (np.full((9, 1), np.nan), np.eye(9), {}, "NaN or infinity in 9 of 9 rows: drop"),
        (np.eye(9), np.ones((9, 2)), {}, r"factors\['0'\]: expected a factor that varies"),
        (np.eye(9), {"a": np.arange(9)}, {"nominal": ["b"]}, r"some of the factors \['a'\]"),
        (np.eye(9), {"a": np.eye(9)}, {}, r"expected arrays of one shape \(N,\)"),
        (np.eye(9), np.eye(9), {"num_permutations": 20}, "at least 100 for the level 0.99"),
        (np.eye(9), np.eye(9), {"bins": 1}, "bins: expected at least 2, found 1"),
        (np.eye(9), np.eye(9), {"binning": "equal"}, "expected one of .'rank', 'width'."),
        (np.eye(9), np.eye(9), {"within": np.zeros(8)}, r"within: expected the shape \(9,\)"),
    ],
)
def test_refusals(codes, factors, options, words):
    with pytest.raises(ValueError, match=words):
        mi_matrix(codes, factors, **options)
