"""Codes and factors whose information is known: sets of numbers, no images."""

import math

import numpy as np
import pytest
from scipy import stats

from pyro_mivae.information import code_information
from pyro_mivae.information.generator.effects import total_effects

N = 5000
BINS = 20
LEVELS = np.linspace(0, 1, BINS + 1)


def binned_information(correlation):
    """The information of two normals in 20 bins of equal mass, by quadrature: exact to 1e-4."""
    edges = stats.norm.ppf(LEVELS[1:-1])
    # P(second in its bin | first), averaged over 200 points in each bin of the first.
    first = stats.norm.ppf((np.arange(BINS * 200) + 0.5) / (BINS * 200))
    z = (edges - correlation * first[:, None]) / math.sqrt(1 - correlation**2)
    below = np.pad(stats.norm.cdf(z), ((0, 0), (1, 1)), constant_values=(0, 1))
    joint = np.diff(below, axis=1).reshape(BINS, 200, BINS).mean(1) / BINS
    positive = joint > 0
    return float((joint[positive] * np.log(joint[positive] * BINS**2)).sum())


def normals(seed, columns):
    return np.random.default_rng(seed).standard_normal((N, columns))


def of(first, second):
    return {"thickness": first, "slant": second}


def measure(codes, factors, **settings):
    return code_information(codes, factors, num_permutations=100, **settings)


@pytest.mark.parametrize("degrees", [0, 10, 15, 30, 45, 75, 90])
def test_turned_codes(degrees):
    """Two codes turned by an angle: the information of normals with these correlations."""
    t, s = normals(1, 2).T
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    info = measure(np.stack([cos * t + sin * s, cos * s - sin * t], 1), of(t, s))
    if degrees in (0, 90):
        straight, crossed = 2 * math.log(BINS), 0.0
    else:
        straight, crossed = (2 * binned_information(abs(r)) for r in (cos, sin))
    error = 4 * info.alignment.standard_error + 0.01
    # Permuted counts fill more cells than those of strong dependence: too much is subtracted.
    excess = 2 * (BINS - 1) ** 2 / (2 * N)
    assert -excess - error < info.alignment.mean - abs(straight - crossed) < error
    assert -excess - error < info.amount.mean - max(straight, crossed) < error
    if degrees != 45:
        assert info.matched == (("0", "1") if degrees < 45 else ("1", "0"))
    assert info.alignment_ceiling == pytest.approx(2 * math.log(BINS), abs=0.1)


@pytest.mark.parametrize("correlation", [0.9, 0.7, 0.4, 0.2])
def test_codes_that_follow_their_own_factor(correlation):
    t, s, *noise = normals(2, 4).T
    codes = correlation * np.stack([t, s], 1) + math.sqrt(1 - correlation**2) * np.stack(noise, 1)
    info = measure(codes, of(t, s))
    expected = 2 * binned_information(correlation)
    assert info.alignment.mean == pytest.approx(
        expected, abs=4 * info.alignment.standard_error + 0.003
    )
    assert info.matrix.values[0, 1] < 0.01


def test_codes_without_alignment():
    t, s, first, second = normals(3, 4).T
    label = np.random.default_rng(4).integers(0, 10, N)
    factors = {**of(t, s), "label": label}
    empty = measure(np.stack([first, second], 1), factors, label="label")
    assert empty.alignment.mean < 0.01
    assert not empty.matrix.live.any()
    of_label = measure(np.stack([label + 0.01 * first, second], 1), factors, label="label")
    assert of_label.alignment.mean < 0.01
    assert of_label.matrix.values[0, 2] > 2  # of log 10, as 20 bins of ranks cut labels in two
    assert of_label.matrix.live.tolist() == [True, False]
    one = measure(np.stack([t, second], 1), factors, label="label")
    both = measure(np.stack([t, s], 1), factors, label="label")
    assert one.alignment.mean == pytest.approx(both.alignment.mean / 2, abs=0.02)
    same = measure(np.stack([t, t], 1), factors, label="label")
    assert same.alignment.mean == 0
    assert same.amount.mean == pytest.approx(one.amount.mean, abs=0.01)


def test_the_best_two_of_many_codes_are_matched():
    t, s, *noise = normals(5, 5).T
    mixed = (t + s) / math.sqrt(2)
    codes = np.stack([noise[0], s, mixed, noise[1], -t], 1)
    info = measure(codes, of(t, s), code_names=[*"abcde"])
    assert info.matched == ("e", "b")
    alone = measure(codes[:, [4, 1]], of(t, s))
    assert info.alignment.mean == pytest.approx(alone.alignment.mean, abs=0.01)


def test_categories_are_no_codes_of_the_alignment():
    t, s = normals(6, 2).T
    category = np.random.default_rng(7).integers(0, 40, N)
    info = measure(
        np.stack([t, category], 1),
        {**of(t, s), "label": category},
        label="label",
        categories=[0, 40],
    )
    assert info.alignment is info.amount is info.matched is None
    # 40 categories in 20 bins of ranks would have log 20 at most.
    assert info.matrix.plug_in[1, 2] == pytest.approx(info.matrix.entropies[2])
    assert info.matrix.entropies[2] > math.log(39)


def test_inside_labels_only_what_is_not_the_label_counts():
    rng = np.random.default_rng(8)
    label = rng.integers(0, 5, N)
    t = label + 0.1 * rng.standard_normal(N)
    s = rng.standard_normal(N)
    info = measure(
        np.stack([label + 0.1 * rng.standard_normal(N), s], 1),
        {**of(t, s), "label": label},
        label="label",
    )
    assert info.matrix.values[0, 0] > 1
    assert info.within[0, 0] < 0.01
    assert info.within[1, 1] == pytest.approx(info.within_ceiling[1])
    assert np.isnan(info.within[:, 2]).all()
    assert np.isnan(measure(np.stack([t, s], 1), of(t, s)).within).all()


def test_standard_errors_are_those_of_repeated_draws():
    means, errors, by_pair = [], [], []
    for seed in range(40):
        t, s, first, second = normals(100 + seed, 4)[:1000].T
        codes = np.stack([t + first, s + second], 1)
        info = code_information(codes, of(t, s), bins=8, num_permutations=20)
        means.append([info.alignment.mean, info.amount.mean, info.matrix.values[0, 0]])
        errors.append([info.alignment.standard_error, info.amount.standard_error])
        by_pair.append(info.standard_errors[0, 0])
    spread = np.std(means, axis=0, ddof=1)
    stated = [*np.mean(errors, axis=0), np.mean(by_pair)]
    # A standard deviation of 40 draws is within a third of the truth (3 standard errors).
    np.testing.assert_allclose(stated, spread, rtol=0.34)


def test_factors_that_are_constant_or_missing():
    t, s, code, other = normals(9, 4).T
    blank = np.arange(N) % 50 == 0
    t[blank] = np.nan
    info = measure(
        np.stack([code, other], 1), {**of(t, s), "width": np.ones(N), "label": np.zeros(N)}
    )
    assert info.num_images == N - 100
    assert (info.matrix.values[:, 2:] == 0).all()
    assert (info.ceiling[2:] == 0).all()
    assert math.isfinite(info.mig)
    flat = measure(np.stack([code, np.zeros(N)], 1), of(np.ones(N), s))
    assert (flat.matrix.values[1] == 0).all()
    assert flat.alignment.mean < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pair": ("thickness", "weight")}, r"pair, label: expected two ordered factors"),
        ({"pair": ("slant", "slant")}, r"pair, label: expected two ordered factors"),
        ({"label": "slant"}, r"pair, label: .* found \('thickness', 'slant'\) and 'slant'"),
        ({"code_names": ["c"]}, r"expected 2 each, one for every code, found 1 and 2"),
        ({"categories": [0, 3]}, r"whole numbers from 0 to 2 of the code '1', found"),
        ({"factors": of(np.ones(3), np.ones(4))}, r"expected arrays of the shape \(5000,\)"),
        ({"factors": of(np.full(N, np.nan), np.ones(N))}, r"at least 40 images .* found 0 of 5000"),
    ],
)
def test_errors(change, words):
    t, s, code, other = normals(10, 4).T
    settings = {"factors": of(t, s), **change}
    with pytest.raises(ValueError, match=words):
        code_information(np.stack([code, other], 1), settings.pop("factors"), **settings)


def test_total_effects_are_sobols_in_the_datas_units():
    """For a c0 + b c1 the effects are the squares a^2 and b^2, over the data's variance."""
    number = 20_000
    rng = np.random.default_rng(11)
    c0, c1, new0, new1 = rng.uniform(-1, 1, (4, number)) * math.sqrt(3)
    label = rng.integers(0, 4, number)

    def factors(first, second, of_label=label):
        return {"thickness": 2 * first + second, "label": of_label}

    anew = rng.integers(0, 4, number)
    data = {"thickness": 5 * rng.standard_normal(number), "label": label}
    effects, errors = total_effects(
        factors(c0, c1),
        [factors(new0, c1), factors(c0, new1), factors(c0, c1, anew), factors(c0, c1)],
        data,
        label="label",
    )
    unit = data["thickness"].var()
    expected = [[4 / unit, 0], [1 / unit, 0], [0, 1], [0, 0]]
    assert (np.abs(effects - expected) <= 4 * errors + 1e-12).all()
    assert errors[0, 0] == pytest.approx(
        math.sqrt(4 * 4 * 7 / 5) / unit / math.sqrt(number), rel=0.1
    )


def test_total_effects_leave_out_what_was_not_measured():
    before = {"thickness": np.array([1.0, np.nan, 3.0, 5.0]), "label": np.zeros(4)}
    after = {"thickness": np.array([2.0, 2.0, np.nan, 7.0]), "label": np.zeros(4)}
    data = {"thickness": np.array([0.0, 2.0, np.nan]), "label": np.zeros(3)}
    effects, _ = total_effects(before, [after], data, label="label")
    assert effects[0, 0] == pytest.approx((0.5 + 2.0) / 2)
    assert np.isnan(effects[0, 1])  # the data have one label
