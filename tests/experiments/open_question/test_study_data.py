"""The study's data sets: laws exchanged, and nothing else."""

import numpy as np
import pytest
import torch
from scipy import stats

from experiments.factors.fitted_laws import pixel_share
from experiments.open_question.design.datasets import STUDY_LAWS, study_data
from pyro_mivae.datasets import (
    FactorData,
    Normal,
    Uniform,
    measured,
)
from pyro_mivae.morphometry import measure

NUMBER = 1_000


@pytest.fixture(scope="module")
def data(digits, cache):
    made = {}

    def make(name):
        if name not in made:
            made[name] = study_data(
                name, num_train=NUMBER, num_test=50, digits=digits, cache_dir=cache
            )
        return made[name]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY_LAWS)
def test_every_data_set_is_made(data, name):
    made = data(name)
    assert isinstance(made, FactorData)
    assert made.name == name
    assert made.source
    for split, number in ((made.train, NUMBER), (made.test, 50)):
        assert len(split) == number
        assert split.images.shape == (number, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.shape == (number,)
        for variable in split.factors.values():
            assert variable.sizes == {"image": number}
            assert variable.dtype == np.float64
            assert variable.attrs["units"]
    for factor, law in made.laws.items():
        assert law == STUDY_LAWS[name][factor]
        distance = stats.kstest(made.train.factors[factor], law.cdf).statistic
        if not name.endswith("-control"):
            # Draws of 1,000; of 400 images of each digit where they are resampled.
            assert distance < (0.08 if name in ("D1", "D2") else 2.0 / np.sqrt(NUMBER))


@pytest.mark.parametrize(("one", "other"), [("D1", "D2"), ("D3", "D4"), ("D6a", "D6b")])
def test_pairs_have_equal_means_and_deviations_and_exchanged_laws(one, other):
    first, second = STUDY_LAWS[one], STUDY_LAWS[other]
    assert list(first) == list(second)
    for name in first:
        assert first[name].mean() == pytest.approx(second[name].mean())
        assert first[name].std() == pytest.approx(second[name].std())
    kinds = {name: (type(first[name]), type(second[name])) for name in first}
    assert kinds.pop(next(iter(first))) == (Uniform, Normal)
    for name in ("slant", "x"):
        if name in kinds:
            assert kinds.pop(name) == (Normal, Uniform)
    assert all(first[name] == second[name] for name in kinds)


def test_the_brief_has_these_laws():
    assert STUDY_LAWS["D1"]["thickness"] == Uniform(1.75, 4.0)
    assert STUDY_LAWS["D3"]["thickness"] == STUDY_LAWS["D5"]["thickness"] == Uniform(1.5, 4.5)
    slant, cut = STUDY_LAWS["D3"]["slant"], STUDY_LAWS["D5"]["slant"]
    assert (slant.loc, slant.scale) == (0.1, 0.25)
    assert (cut.loc, cut.reach / cut.scale) == (slant.loc, pytest.approx(slant.reach / slant.scale))
    # Cut so far out that it is hardly seen.
    for laws in STUDY_LAWS.values():
        for law in laws.values():
            assert isinstance(law, Uniform) or law.reach >= 2.59 * law.scale


@pytest.mark.slow
def test_sizes_of_d3_to_d5_are_those_that_are_meant(data):
    share = {}
    for name in ("D3", "D4", "D5"):
        split = data(name).train
        share[name] = {
            factor: pixel_share(split.images, values, split.labels, bins=10)
            for factor, values in split.factors.items()
        }
    for name in ("D3", "D4"):
        assert share[name]["slant"] > 1.4 * share[name]["thickness"]
    assert share["D5"]["slant"] < share["D5"]["thickness"] / 1.4
    # Neither factor's size depends much on its law.
    for factor in ("thickness", "slant"):
        assert share["D4"][factor] == pytest.approx(share["D3"][factor], rel=0.25)


@pytest.mark.slow
def test_laws_exchanged_leave_order_and_ranks_alone(data):
    for one, other, factors in (
        ("D3", "D4", ("thickness", "slant")),
        ("D6a", "D6b", ("scale", "x")),
    ):
        first, second = data(one).train, data(other).train
        assert torch.equal(first.sources, second.sources)
        assert torch.equal(first.labels, second.labels)
        for name in factors:
            ranks = [stats.rankdata(split.factors[name]) for split in (first, second)]
            np.testing.assert_array_equal(*ranks)
    for name in ("angle", "y"):
        values = [data(sprites).train.factors[name] for sprites in ("D6a", "D6b")]
        assert values[0].identical(values[1])


def test_sprites_vary_most_in_the_two_factors_of_the_study(data):
    for name in ("D6a", "D6b"):
        split = data(name).train
        share = {
            factor: pixel_share(split.images, values, split.labels, bins=10)
            for factor, values in split.factors.items()
        }
        assert min(share["scale"], share["x"]) > 8 * max(share["angle"], share["y"])
        assert 0.6 < share["x"] / share["scale"] < 1.2


@pytest.mark.slow
def test_resampled_arms_have_equal_effective_sizes(data):
    for part in ("train", "test"):
        sizes = [
            getattr(data(name), part).effective_size
            for name in ("D1", "D2", "D1-control", "D2-control")
        ]
        np.testing.assert_allclose(sizes, sizes[0], rtol=0.05)


def test_controls_keep_the_digits_own_thickness(data, digits, cache):
    own = measured(digits.train, cache_dir=cache)["thickness"]
    for name in ("D1", "D2"):
        control = data(f"{name}-control")
        assert control.laws == {}
        assert set(data(name).laws) == {"thickness"}
        distances = [
            stats.ks_2samp(data(other).train.factors["thickness"], own).statistic
            for other in (f"{name}-control", name)
        ]
        assert distances[0] < 0.06 < 0.12 < distances[1]


@pytest.mark.slow
def test_d0_is_the_digits_themselves(data, digits):
    made = data("D0")
    assert made.laws == {}
    for split, source in ((made.train, digits.train), (made.test, digits.test)):
        assert torch.equal(split.images, source.images[split.sources])
        assert torch.equal(split.labels, source.labels[split.sources])
        assert len(split.sources.unique()) == len(split) == split.effective_size
        assert split.factors.drop_attrs().identical(measure(split.images).drop_attrs())


@pytest.mark.parametrize(("number", "size"), [(300, 300), (500, 500), (700, 450), (1_500, 500)])
def test_effective_size_of_digits_that_are_taken_again(digits, cache, number, size):
    made = study_data("D0", num_train=5, num_test=number, digits=digits, cache_dir=cache).test
    counts = np.bincount(made.sources.numpy(), minlength=500)
    # Of 700 images of 500 digits, 200 are there twice: 700^2 / (300 + 200 * 4).
    assert made.effective_size == pytest.approx(number**2 / (counts**2).sum(), rel=1e-12)
    assert made.effective_size == pytest.approx(700**2 / 1100 if number == 700 else size)


def test_seeds_reproduce(digits, cache):
    for name in ("D0", "D1", "D3", "D6a"):
        kwargs = {"num_train": 20, "num_test": 10, "digits": digits, "cache_dir": cache}
        one, same, other = (study_data(name, seed=seed, **kwargs) for seed in (3, 3, 4))
        for part in ("train", "test"):
            a, b, c = (getattr(made, part) for made in (one, same, other))
            assert torch.equal(a.images, b.images)
            assert a.factors.identical(b.factors)
            assert not torch.equal(a.images, c.images)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"name: expected one of D0, D1, .*, D6b, found 'D7'"):
        study_data("D7")
    with pytest.raises(ValueError, match="expected positive numbers of images, found 0 and 5"):
        study_data("D6a", num_train=0, num_test=5)
