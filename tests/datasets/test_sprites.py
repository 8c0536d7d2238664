import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_mivae.datasets import (
    SHAPES,
    SPRITE_LAWS,
    Normal,
    Uniform,
    render_sprites,
    sprites,
)

# From a heart's centroid to its tip: a square of side a and two half discs on its upper sides.
_A = 1 / math.sqrt(1 + math.pi / 4)
_DISC = _A / 2 + 2 * _A / (3 * math.pi)  # the centroid of each from the square's middle
REACH = _A / math.sqrt(2) + 2 * (math.pi * _A**2 / 8) * _DISC / math.sqrt(2)

ANGLES = np.linspace(-np.pi, np.pi, 9)


def render(shape, *, scale=9.0, angle=0.0, x=0.0, y=0.0, **kwargs):
    columns = np.broadcast_arrays(*np.atleast_1d(scale, angle, x, y))
    values = dict(zip(("scale", "angle", "x", "y"), np.array(columns, float), strict=True))
    return render_sprites(np.full(len(values["x"]), shape), **values, **kwargs)


def moments(images):
    """Area, centroid (x, y) from the middle, and second central moments (xx, xy, yy)."""
    grey = images / 255.0
    place = np.arange(images.shape[-1]) + 0.5 - images.shape[-1] / 2
    area = grey.sum((1, 2))
    x = (grey.sum(1) @ place) / area
    y = (grey.sum(2) @ place) / area
    xx = (grey.sum(1) @ place**2) / area - x**2
    yy = (grey.sum(2) @ place**2) / area - y**2
    xy = (grey @ place @ place) / area - x * y
    return area, (x, y), (xx, xy, yy)


@pytest.mark.parametrize("shape", range(3), ids=SHAPES)
def test_area_is_the_scales_square_and_the_centroid_the_place(shape):
    rng = np.random.default_rng(0)
    scale = rng.uniform(8, 30, 60)
    x, y = rng.uniform(-5, 5, (2, 60))
    angle = rng.uniform(-np.pi, np.pi, 60)
    area, (cx, cy), _ = moments(render(shape, scale=scale, angle=angle, x=x, y=y, size=64))
    # An edge goes through cells of 1/4 pixel: their errors average out along it.
    np.testing.assert_allclose(area, scale**2, rtol=0.012)
    np.testing.assert_allclose(cx, x, atol=0.06)
    np.testing.assert_allclose(cy, y, atol=0.06)
    assert abs((area / scale**2 - 1).mean()) < 0.001
    assert abs((cx - x).mean()) < 0.01
    assert abs((cy - y).mean()) < 0.01


def test_rectangle_and_ellipse_have_their_second_moments():
    s = 20.0
    expected = {0: (1.5 / 12, 1 / 18), 1: (1.5 / (4 * math.pi), 1 / (6 * math.pi))}
    for shape, (long, short) in expected.items():
        for angle in ANGLES:
            _, _, found = moments(render(shape, scale=s, angle=angle, size=40))
            c, q = math.cos(angle), math.sin(angle)
            turned = (
                long * c * c + short * q * q,
                (long - short) * c * q,
                long * q * q + short * c * c,
            )
            np.testing.assert_allclose(np.ravel(found) / s**2, turned, atol=0.002)


def test_the_hearts_tip_is_down_and_turns_clockwise():
    image = render(2, scale=18.0, size=40)[0] / 255.0
    widths = image.sum(1)
    rows = np.flatnonzero(widths)
    assert widths[rows[-1]] < 2.5 < widths[rows[0]]
    np.testing.assert_array_equal(image, image[:, ::-1])  # its axis is upright
    assert not image[rows[0], 18:22].any()  # between the two discs
    quarter = render(2, scale=18.0, angle=np.pi / 2, size=40)[0] / 255.0
    np.testing.assert_allclose(quarter, np.rot90(image, -1), atol=0.26)
    assert np.abs(quarter - np.rot90(image, -1)).mean() < 0.002


def test_an_edge_is_grey_by_sixteenths():
    images = render(0, scale=9.3, x=0.3)
    levels = np.unique(images)
    assert set(levels) <= set(np.rint(255 * np.arange(17) / 16).astype(int))
    assert {0, 255} < set(levels)
    assert images.dtype == np.uint8


@pytest.fixture(scope="module")
def data():
    return sprites(num_train=2_000, num_test=200)


def test_factors_follow_their_laws_and_are_independent(data):
    factors = data.train.factors
    assert list(factors) == ["scale", "angle", "x", "y"]
    assert [factors[name].attrs["units"] for name in factors] == ["px", "rad", "px", "px"]
    for name, law in data.laws.items():
        assert factors[name].dtype == np.float64
        assert stats.kstest(factors[name], law.cdf).pvalue > 1e-3
    columns = np.stack([data.train.labels, *(factors[name] for name in factors)])
    rank = stats.spearmanr(columns, axis=1).statistic
    assert np.abs(rank[np.triu_indices(5, 1)]).max() < 4 / np.sqrt(2_000)
    counts = np.bincount(data.train.labels)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert data.laws == dict(SPRITE_LAWS)


def test_images_are_those_of_their_factors(data):
    for split, number in ((data.train, 2_000), (data.test, 200)):
        assert split.images.shape == (len(split), 28, 28) == (number, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        area, (x, y), _ = moments(split.images.numpy())
        np.testing.assert_allclose(area, split.factors["scale"] ** 2, rtol=0.05)
        np.testing.assert_allclose(x, split.factors["x"], atol=0.15)
        np.testing.assert_allclose(y, split.factors["y"], atol=0.15)
        assert split.effective_size == number
        assert split.sources.tolist() == list(range(number))
    expected = render_sprites(
        data.test.labels.numpy(), **{n: v.values for n, v in data.test.factors.items()}
    )
    np.testing.assert_array_equal(data.test.images, expected)
    assert not set(data.train.factors["x"].values) & set(data.test.factors["x"].values)


@pytest.mark.slow
def test_a_seed_gives_the_same_sprites_and_a_law_changes_its_factor_only(data):
    again = sprites(num_train=2_000, num_test=200)
    assert torch.equal(again.train.images, data.train.images)
    assert again.test.factors.identical(data.test.factors)
    assert not torch.equal(
        sprites(num_train=2_000, num_test=200, seed=1).test.images, data.test.images
    )
    other = sprites(laws={"x": Uniform.like(SPRITE_LAWS["x"])}, num_train=2_000, num_test=200)
    assert torch.equal(other.train.labels, data.train.labels)
    for name in ("scale", "angle", "y"):
        assert other.train.factors[name].identical(data.train.factors[name])
    x, before = (d.train.factors["x"].values for d in (other, data))
    assert np.array_equal(np.argsort(x), np.argsort(before))
    assert stats.kstest(x, Uniform.like(SPRITE_LAWS["x"]).cdf).pvalue > 1e-3


def test_to_moves_every_tensor(data):
    moved = data.to("meta")
    for split, before in ((moved.train, data.train), (moved.test, data.test)):
        for name in ("images", "labels", "sources"):
            assert getattr(split, name).device.type == "meta"
            assert getattr(before, name).device.type == "cpu"
        assert split.factors is before.factors
        assert split.effective_size == before.effective_size
    assert (moved.name, moved.laws, moved.source) == (data.name, data.laws, data.source)


def test_any_law_of_scipys_will_do():
    made = sprites(laws={"scale": stats.triang(0.5, 5, 6)}, num_train=2_000, num_test=1)
    assert stats.kstest(made.train.factors["scale"], stats.triang(0.5, 5, 6).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("shape", "values", "words"),
    [
        (-1, {}, r"shape: expected 0 \(rectangle\), 1 \(ellipse\), 2 \(heart\), found -1"),
        (3, {}, "shape: expected 0 .*found 3"),
        (0.5, {}, r"shape: expected 0 .*found 0\.5"),
        (0, {"x": np.nan}, "x: expected finite numbers, found nan"),
        (0, {"y": np.inf}, "y: expected finite numbers, found inf"),
        (1, {"angle": [0.0, np.nan]}, "angle: expected finite numbers, found nan"),
        (2, {"scale": [9.0, np.nan]}, "scale: expected finite numbers, found nan"),
    ],
)
def test_what_cant_be_rendered_is_an_error(shape, values, words):
    with pytest.raises(ValueError, match=words):
        render(shape, **values)


def test_every_sprite_has_its_numbers():
    values = {name: np.zeros(2) for name in ("angle", "x", "y")}
    with pytest.raises(ValueError, match=r"scale: expected a number for each shape, \(2,\), found"):
        render_sprites(np.zeros(2, int), scale=np.full(1, 9.0), **values)
    none = {name: np.zeros(0) for name in ("scale", "angle", "x", "y")}
    assert render_sprites(np.zeros(0, int), **none).shape == (0, 28, 28)


@pytest.mark.parametrize(("shape", "reach"), [(0, 0.7359801), (1, 0.6909883), (2, REACH)])
def test_a_sprite_may_reach_the_border_and_no_farther(shape, reach):
    render(shape, scale=0.999 * 14 / reach)
    with pytest.raises(ValueError, match=r"would reach 14.01 pixels"):
        render(shape, scale=1.001 * 14 / reach)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"would reach .* expected at most 14. Choose laws"):
        sprites(laws={"x": Normal(0.0, 3.0)}, num_train=1_000, num_test=1)
    with pytest.raises(ValueError, match=r"expected some of scale, angle, x, y, found \{'c"):
        sprites(laws={"colour": Uniform(0.0, 1.0)})
    with pytest.raises(ValueError, match="scale: expected positive numbers of pixels, found -1"):
        render(0, scale=-1.0)
    for shape in range(3):
        image = render(shape, scale=16.0, angle=ANGLES)
        assert not image[:, [0, -1]].all((1, 2)).any()
