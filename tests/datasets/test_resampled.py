import numpy as np
import pytest
import torch
from scipy import stats

from pyro_mivae.datasets import (
    Digits,
    Normal,
    Split,
    Uniform,
    effective_size,
    measured,
    resampled_digits,
    resampling_weights,
)
from pyro_mivae.morphometry import measure

UNIFORM = Uniform(1.75, 4.0)
NORMAL = Normal.like(UNIFORM, reach=1.7)


@pytest.fixture(scope="module")
def few(digits):
    """Some images of each digit: enough for what is no statistic."""
    splits = [Split(s.images[:300], s.labels[:300]) for s in (digits.train, digits.test)]
    return Digits(digits.name, digits.checksum, digits.source, splits[0], splits[1], splits[1])


@pytest.fixture(scope="module")
def make_of_few(few, cache):
    def make(law=UNIFORM, num_train=2_000, num_test=200, **kwargs):
        return resampled_digits(
            few, law=law, num_train=num_train, num_test=num_test, cache_dir=cache, **kwargs
        )

    return make


@pytest.fixture(scope="module")
def make(digits, cache):
    def make(law=UNIFORM, num_train=20_000, num_test=2_000, **kwargs):
        return resampled_digits(
            digits, law=law, num_train=num_train, num_test=num_test, cache_dir=cache, **kwargs
        )

    return make


def weighted_distance(values, weights, law):
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    cdf = law.cdf(values[order])
    return max((cumulative - cdf).max(), (cdf - cumulative + weights[order] / weights.sum()).max())


# Weights.


@pytest.mark.parametrize("law", [Uniform(-1.5, 1.5), Normal(0.5, 0.6, reach=1.5)], ids=str)
def test_weights_are_the_ratio_of_the_densities(law):
    values = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = resampling_weights(values, np.zeros(20_000), law)
    exact = law.pdf(values) / stats.norm.pdf(values)
    exact *= 20_000 / exact.sum()
    # The kernels make the estimated density a little wider.
    np.testing.assert_allclose(found, exact, rtol=0.05, atol=1e-12)
    assert found.sum() == pytest.approx(20_000)
    assert weighted_distance(values, found, law) < 0.01
    # E[w]^2 / E[w^2] by the densities.
    mean = effective_size(exact) / 20_000
    assert effective_size(found) / 20_000 == pytest.approx(mean, rel=0.03)


def test_each_digit_keeps_its_weight_and_its_own_density():
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 8], [4_000, 1_000])
    values = rng.normal(np.where(labels == 3, 0.0, 1.0), 1.0)
    law = Uniform(-1.0, 2.0)
    values[10] = np.nan
    weights = resampling_weights(values, labels, law)
    assert weights[10] == 0
    for digit, number in ((3, 4_000), (8, 1_000)):
        rows = (labels == digit) & np.isfinite(values)
        assert weights[labels == digit].sum() == pytest.approx(number)
        assert weighted_distance(values[rows], weights[rows], law) < 0.03


def test_a_law_where_nothing_is_is_an_error():
    with pytest.raises(ValueError, match=r"no image of digit 5 is where Uniform.* has mass: exp"):
        resampling_weights(np.linspace(0, 1, 50), np.full(50, 5), Uniform(2.0, 3.0))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.3] * 9, "digit 7 has 9 finite values, 1 of them different: expected at least two"),
        ([0.3] + [np.nan] * 8, "has 1 finite values, 1 of .*more images, or leave the digit out"),
        ([np.nan] * 9, "digit 7 has 0 finite values, 0 of them different"),
    ],
)
def test_a_digit_without_two_values_is_an_error(values, words):
    others = np.linspace(0, 1, 9)
    labels = np.repeat([3, 7], 9)
    with pytest.raises(ValueError, match=words):
        resampling_weights(np.append(others, values), labels, Uniform(0.0, 1.0))


def test_a_law_of_infinite_density_is_an_error():
    values = np.linspace(0, 1, 50)
    with pytest.raises(
        ValueError, match=r"finite density at every .* digit 5, found inf at 0\. Ch"
    ):
        resampling_weights(values, np.full(50, 5), stats.gamma(0.5))


def test_effective_size():
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 0, 0])) == 1
    assert effective_size(np.array([3.0, 1, 0])) == pytest.approx(16 / 10)


# Measurements.


def test_measurements_are_those_of_measure_and_kept(digits, tmp_path, monkeypatch):
    from pyro_mivae import morphometry

    calls = []
    monkeypatch.setattr(morphometry, "measure", lambda x, **_: calls.append(1) or measure(x))
    split = Split(digits.test.images[:40], digits.test.labels[:40])
    found = measured(split, cache_dir=tmp_path)
    assert found.identical(measure(split.images))
    assert measured(split, cache_dir=tmp_path).identical(found)
    assert len(calls) == 1
    monkeypatch.setattr(morphometry, "VERSION", 0)
    assert measured(split, cache_dir=tmp_path).attrs["version"] == 0
    assert len(calls) == 2


def test_measurements_are_kept_by_what_was_measured(digits, tmp_path):
    for images in (digits.test.images[:3], digits.test.images[3:6]):
        split = Split(images, digits.test.labels[:3])
        assert measured(split, cache_dir=tmp_path).identical(measure(images))


# Data.


@pytest.mark.slow
@pytest.mark.parametrize("law", [UNIFORM, NORMAL], ids=str)
def test_thickness_follows_its_law_within_each_digit(make, law):
    data = make(law)
    # With 400 images of a digit, few of them thick. On MNIST's 55,000 the distances are .010
    # (uniform) and .006 (normal), on its 10,000 for testing .019 and .014.
    thickness, labels = data.train.factors["thickness"].values, data.train.labels.numpy()
    assert stats.kstest(thickness, law.cdf).statistic < 0.05
    for digit in range(10):
        assert stats.kstest(thickness[labels == digit], law.cdf).statistic < 0.15, digit
    assert data.laws == {"thickness": law}


@pytest.mark.slow
def test_laws_are_told_apart_after_resampling(make, digits, cache):
    before = measured(digits.train, cache_dir=cache)["thickness"].values
    for law, other in ((UNIFORM, NORMAL), (NORMAL, UNIFORM)):
        thickness = make(law).train.factors["thickness"]
        distance = stats.kstest(thickness, law.cdf).statistic
        assert stats.kstest(thickness, other.cdf).statistic > 1.4 * distance
        assert stats.kstest(before, law.cdf).statistic > 4 * distance


def test_draws_keep_images_labels_and_factors_together(make_of_few, few, cache):
    data = make_of_few()
    for split, source in ((data.train, few.train), (data.test, few.test)):
        assert torch.equal(split.images, source.images[split.sources])
        assert torch.equal(split.labels, source.labels[split.sources])
        factors = measured(source, cache_dir=cache).isel(image=split.sources.numpy())
        assert split.factors.identical(factors)
        counts, before = (torch.bincount(s.labels).numpy() for s in (split, source))
        expected = before / before.sum() * len(split)
        assert stats.chisquare(counts, expected).pvalue > 1e-3  # as many as before
    assert (len(data.train), len(data.test)) == (2_000, 200)


@pytest.mark.slow
def test_effective_size_and_how_to_make_it_equal(make, digits):
    uniform, normal = make(UNIFORM), make(NORMAL)
    sizes = [data.train.effective_size for data in (uniform, normal)]
    # On the whole of MNIST 55 % and 72 %.
    np.testing.assert_allclose(np.array(sizes) / len(digits.train), [0.47, 0.65], atol=0.02)
    share = tuple(
        getattr(uniform, part).effective_size / getattr(normal, part).effective_size
        for part in ("train", "test")
    )
    fewer = make(NORMAL, share=share)
    assert fewer.train.effective_size == pytest.approx(sizes[0], rel=0.02)
    assert len(fewer.train) == len(normal.train)
    assert len(fewer.train.sources.unique()) < len(normal.train.sources.unique())
    assert stats.kstest(fewer.train.factors["thickness"], NORMAL.cdf).statistic < 0.05


@pytest.mark.slow
def test_permuted_weights_keep_the_size_and_lose_the_law(make, digits, cache):
    data, control = make(), make(permuted=True)
    assert control.train.effective_size == pytest.approx(data.train.effective_size)
    assert control.laws == {}
    assert "permuted" in control.source
    before = measured(digits.train, cache_dir=cache)["thickness"]
    thickness = control.train.factors["thickness"]
    assert stats.ks_2samp(thickness, before).statistic < 0.03
    assert stats.kstest(thickness, UNIFORM.cdf).statistic > 0.05
    for digit in range(10):
        mine = thickness.values[control.train.labels.numpy() == digit]
        own = before.values[digits.train.labels.numpy() == digit]
        assert stats.ks_2samp(mine, own).statistic < 0.12


def test_a_seed_gives_the_same_draws(make_of_few):
    kwargs = {"num_train": 50, "num_test": 20, "share": (0.9, 0.9), "permuted": True}
    one, same, other = (make_of_few(**kwargs, seed=seed) for seed in (0, 0, 1))
    for part in ("train", "test"):
        a, b, c = (getattr(data, part).sources for data in (one, same, other))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.slow
def test_other_factors_can_be_resampled(make):
    law = Uniform(-0.2, 0.5)
    data = make(law, factor="slant")
    assert stats.kstest(data.train.factors["slant"], law.cdf).statistic < 0.04


def test_arguments_are_checked(make_of_few):
    with pytest.raises(ValueError, match=r"factor: expected one of area, .*, found 'mood'"):
        make_of_few(factor="mood")
    for share in ((0.0, 1.0), (1.0, 1.1)):
        with pytest.raises(ValueError, match=r"share: expected two numbers in \(0, 1\]"):
            make_of_few(share=share)
