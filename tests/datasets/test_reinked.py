import numpy as np
import pytest
import torch
from scipy import stats

from pyro_mivae.datasets import (
    Digits,
    Normal,
    Split,
    Uniform,
    measured,
    reink,
    reinked_digits,
)
from pyro_mivae.morphometry import measure, skeletons, steps

THICKNESS, SLANT = Uniform(1.5, 4.5), Normal(0.1, 0.25, reach=1.0)
NUMBER = 1_000


@pytest.fixture(scope="module")
def data(digits, cache):
    return reinked_digits(
        digits,
        thickness=THICKNESS,
        slant=SLANT,
        num_train=NUMBER,
        num_test=100,
        cache_dir=cache,
    )


@pytest.fixture(scope="module")
def found(data):
    """What is measured of the drawn images."""
    return measure(data.train.images)


@pytest.fixture
def few(digits):
    """Eight digits in each split."""
    splits = (digits.train, digits.validation, digits.test)
    return Digits(
        digits.name,
        digits.checksum,
        digits.source,
        *(Split(split.images[:8], split.labels[:8]) for split in splits),
    )


def line(angle):
    """A thin line through the middle, as a digit."""
    place = np.arange(28) - 13.5
    across = np.abs(np.cos(angle) * place - np.sin(angle) * place[:, None])
    along = np.abs(np.sin(angle) * place + np.cos(angle) * place[:, None])
    return np.where((across < 1.0) & (along < 9.0), 255, 0).astype(np.uint8)


@pytest.mark.parametrize("thickness", [1.5, 2.0, 3.0, 4.5])
def test_ink_of_a_line_is_length_times_thickness(thickness):
    upright = line(0.0)
    (skeleton,) = skeletons(upright[None])
    assert set(np.nonzero(skeleton)[1]) <= {55, 56}  # straight
    length = steps(skeleton) / 4
    for slant in (0.0, 0.3, -0.6):
        drawn = reink(upright[None], np.array([thickness]), np.array([slant]))[0] / 255.0
        # Shearing keeps the height, and so makes a straight line longer; its ends are round.
        caps = np.pi * thickness**2 / 4
        assert drawn.sum() == pytest.approx(length * thickness / np.cos(slant) + caps, rel=0.02)
        np.testing.assert_allclose(drawn[11:17].sum(1).mean(), thickness / np.cos(slant), rtol=0.03)


def test_slant_of_a_line_is_what_was_set():
    images = np.array([line(angle) for angle in (-0.3, 0.0, 0.4)])
    for slant in (-0.5, 0.0, 0.1, 0.6):
        drawn = reink(images, np.full(3, 2.0), np.full(3, slant))
        np.testing.assert_allclose(measure(drawn)["slant"], slant, atol=0.02)


@pytest.mark.slow
def test_measured_factors_follow_those_that_were_set(data, found):
    assert found.attrs["unmeasured"] == 0
    for name, least in (("thickness", 0.96), ("slant", 0.999)):
        fit = stats.linregress(data.train.factors[name], found[name])
        assert fit.rvalue > least
        assert fit.slope == pytest.approx(1.0, abs=0.1)
    # The measurement's smoothing takes a little of the slant.
    np.testing.assert_allclose(found["slant"], data.train.factors["slant"], atol=0.06)
    # What was set independently is measured almost so.
    for one, other in (("thickness", "slant"), ("slant", "thickness")):
        rank = stats.spearmanr(data.train.factors[one], found[other]).statistic
        assert abs(rank) < 4 / np.sqrt(NUMBER)


@pytest.mark.slow
def test_thickness_slant_and_digit_are_independent_and_follow_their_laws(data):
    factors = data.train.factors
    assert list(factors) == ["thickness", "slant"]
    assert [factors[name].attrs["units"] for name in factors] == ["px", "rad"]
    assert data.laws == {"thickness": THICKNESS, "slant": SLANT}
    for name, law in data.laws.items():
        assert stats.kstest(factors[name], law.cdf).pvalue > 1e-3
    rank = stats.spearmanr(factors["thickness"], factors["slant"]).statistic
    assert abs(rank) < 4 / np.sqrt(NUMBER)
    for name, law in data.laws.items():
        cells = np.floor(4 * law.cdf(factors[name].values)).astype(int).clip(0, 3)
        table = stats.contingency.crosstab(cells, data.train.labels.numpy()).count
        assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.slow
def test_what_the_digits_themselves_had_does_not_come_through(data, found, digits, cache):
    own = measured(digits.train, cache_dir=cache).isel(image=data.train.sources.numpy())
    for name in ("thickness", "slant"):
        before = stats.spearmanr(own[name], data.train.factors[name]).statistic
        assert abs(before) < 4 / np.sqrt(NUMBER)
        left = found[name] - data.train.factors[name]
        # A shape has something of both: the curl of a 2, the corners of an 8.
        assert abs(stats.pearsonr(own[name], left).statistic) < 0.2


def test_images_come_from_the_digits_own_splits(digits, data):
    assert data.train.sources.max() < len(digits.train)
    for made, split in ((data.train, digits.train), (data.test, digits.test)):
        assert torch.equal(made.labels, split.labels[made.sources])
        assert len(set(made.sources.tolist())) == len(made)
        row = int(made.sources[5])
        expected = reink(
            split.images[row : row + 1].numpy(),
            made.factors["thickness"].values[5:6],
            made.factors["slant"].values[5:6],
        )
        np.testing.assert_array_equal(made.images[5], expected[0])
        assert made.images.dtype == torch.uint8
        assert made.images.shape == (len(made), 28, 28)
        assert made.effective_size == len(made)


def test_more_images_than_digits_use_each_equally_often(few, tmp_path):
    made = reinked_digits(
        few, thickness=THICKNESS, slant=SLANT, num_train=20, num_test=3, cache_dir=tmp_path
    )
    counts = torch.bincount(made.train.sources, minlength=8)
    assert set(counts.tolist()) == {2, 3}
    assert made.train.factors["thickness"].to_series().nunique() == 20


@pytest.mark.slow
def test_no_ink_is_lost_at_the_border(digits):
    images = digits.test.images[:60].numpy()
    for thickness, slant in ((4.5, 1.1), (5.25, -0.9), (9.0, 0.0), (1.5, 1.3)):
        drawn = reink(images, np.full(60, thickness), np.full(60, slant))
        assert not drawn[:, [0, 27]].any()
        assert not drawn[:, :, [0, 27]].any()
        assert drawn.max((1, 2)).min() == 255
    # Where there is room, the centroid of the skeleton is in the middle.
    drawn = reink(images, np.full(60, 2.0), np.zeros(60)) / 255.0
    place = np.arange(28) + 0.5
    mass = drawn.sum((1, 2))
    for axis in (1, 2):
        middle = (drawn.sum(axis) @ place) / mass
        assert abs(np.median(middle) - 14.0) < 0.1
        assert np.abs(middle - 14.0).max() < 1.5


def test_a_blank_image_stays_blank():
    images = np.zeros((3, 28, 28), np.uint8)
    images[1] = line(0.0)
    drawn = reink(images, np.full(3, 2.0), np.zeros(3))
    assert drawn.any((1, 2)).tolist() == [False, True, False]


def test_a_seed_gives_the_same_images_and_a_law_changes_its_factor_only(few, tmp_path):
    def make(seed=0, slant=SLANT, folder="a"):
        return reinked_digits(
            few,
            thickness=THICKNESS,
            slant=slant,
            num_train=6,
            num_test=4,
            seed=seed,
            cache_dir=tmp_path / folder,
        )

    one, same, other = make(), make(folder="b"), make(seed=1)
    for a, b in ((one.train, same.train), (one.test, same.test)):
        assert torch.equal(a.images, b.images)
        assert a.factors.identical(b.factors)
    assert not torch.equal(one.train.images, other.train.images)
    assert not one.train.factors["thickness"].identical(one.test.factors["thickness"])
    swapped = make(slant=Uniform.like(SLANT))
    assert torch.equal(swapped.train.sources, one.train.sources)
    assert swapped.train.factors["thickness"].identical(one.train.factors["thickness"])
    before, after = (d.train.factors["slant"].values for d in (one, swapped))
    assert np.array_equal(np.argsort(before), np.argsort(after))
    assert not np.allclose(before, after)
    assert not torch.equal(swapped.train.images, one.train.images)


def test_another_thickness_is_another_file_of_the_cache(few, tmp_path):
    for law in (THICKNESS, Normal.like(THICKNESS, reach=2.25)):
        made = reinked_digits(
            few, thickness=law, slant=SLANT, num_train=3, num_test=3, cache_dir=tmp_path
        ).train
        factors = (made.factors[name].values for name in ("thickness", "slant"))
        expected = reink(few.train.images[made.sources].numpy(), *factors)
        np.testing.assert_array_equal(made.images, expected)


def test_images_are_read_from_the_cache_and_damage_is_mended(few, tmp_path, caplog, monkeypatch):
    from pyro_mivae.datasets import reinked

    def make():
        return reinked_digits(
            few, thickness=THICKNESS, slant=SLANT, num_train=4, num_test=4, cache_dir=tmp_path
        )

    calls = []
    monkeypatch.setattr(reinked, "reink", lambda *args: calls.append(1) or reink(*args))
    first = make()
    assert len(calls) == len(list(tmp_path.iterdir())) == 2
    assert torch.equal(make().train.images, first.train.images)
    assert len(calls) == 2
    path = sorted(tmp_path.iterdir())[0]
    content = bytearray(path.read_bytes())
    content[-500] ^= 16
    path.write_bytes(bytes(content))
    again = make()
    assert len(calls) == 3
    assert "anew: expected SHA-256" in caplog.text
    assert torch.equal(again.train.images, first.train.images)
    assert torch.equal(again.test.images, first.test.images)
    # Another version of the drawing is another file.
    monkeypatch.setattr(reinked, "REINK_VERSION", 0)
    make()
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("thickness", "slant", "words"),
    [
        (0.4, 0.0, "thickness: expected 0.5 to 9.333 pixels, found 0.4 to 0.4; give the law a"),
        (9.5, 0.0, "thickness: expected"),
        (np.nan, 0.0, "thickness: expected"),
        (2.0, 1.5, "slant: expected -1.4 to 1.4 radians, found 1.5 to 1.5; give the law a reach"),
        (2.0, np.nan, "slant: expected"),
    ],
)
def test_what_cant_be_drawn_is_an_error(thickness, slant, words):
    with pytest.raises(ValueError, match=words):
        reink(line(0.0)[None], np.array([thickness]), np.array([slant]))
