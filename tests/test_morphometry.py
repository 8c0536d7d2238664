"""Strokes whose thickness, length, slant and area are known; and one digit's published numbers."""

import base64
import itertools
import zlib

import numpy as np
import pytest
import torch
from scipy import ndimage, optimize, stats
from skimage.morphology import skeletonize
from skimage.transform import pyramid_expand

from pyro_mivae.datasets import load_digits
from pyro_mivae.morphometry import (
    UNITS,
    VERSION,
    enlarge,
    measure,
    skeletons,
    steps,
)

# The first image of MNIST's training set, and its row in Morpho-MNIST's original/train-morpho.csv.
FIRST = (
    "c-muN7@UAvNJyxzW4+X}|KID8#pP7uX07@Q0uR^x{dCv?Ny_luUnuw;8x&-rj;u}SHdx}=w(lP??FyKa{rB%#ZU*gH"
    "SRBH~IO}f|PG@%i-N%GWj(gu<H=G)kKR#TL!-zvN@WbD~<&rogb$9*!J53sgq(JPSzq@f-`t$Ek2dol$P22zeJ&(;N"
    ">QkNq!|m5LOc{xyyPzOF>4zaB?sOF#*nt=Z3atjm!{Go<bQ$wCk3ceCTDdW8>HtbyX>SprN4f(5i5_c)"
)
PUBLISHED = {
    "area": 107.3125,
    "thickness": 2.4606583773939543,
    "slant": 0.23107446620980754,
    "width": 14.539571782767355,
    "height": 19.849053691610763,
}
THICKNESSES = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
ZIGZAG = ((4.5, 6.0), (22.5, 7.5), (22.0, 14.5), (6.0, 13.0), (5.5, 21.0), (23.0, 22.5))


@pytest.fixture(scope="module")
def digits():
    return load_digits("mnist-5k").test


def render(inside, size=28, samples=8):
    """An anti-aliased image of where `inside` is true, by 8 by 8 samples a pixel."""
    grid = (np.arange(samples * size) + 0.5) / samples
    ink = np.broadcast_to(inside(grid, grid[:, None]), (samples * size, samples * size))
    cells = ink.reshape(size, samples, size, samples).mean((1, 3))
    return np.rint(255 * cells).astype(np.uint8)


def stroke(points, thickness, **kwargs):
    """A pen of round tip along straight lines."""

    def inside(x, y):
        near = np.full(np.broadcast(x, y).shape, np.inf)
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            t = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2), 0, 1)
            near = np.minimum(near, np.hypot(x - x0 - t * dx, y - y0 - t * dy))
        return near <= thickness / 2

    return render(inside, **kwargs)


def line(angle, thickness, half=8.0):
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    return stroke([(14.2 - dx, 13.9 - dy), (14.2 + dx, 13.9 + dy)], thickness)


def ring(thickness, radius=8.0):
    return render(lambda x, y: np.abs(np.hypot(x - 14.1, y - 13.8) - radius) <= thickness / 2)


def bar(shear, width=6.0, top=4.0, bottom=24.0, middle=14.0):
    """Leans to the right by `shear` pixels a pixel."""

    def inside(x, y):
        upright = x - middle + shear * (y - (top + bottom) / 2)
        return (np.abs(upright) <= width / 2) & (y >= top) & (y <= bottom)

    return render(inside)


def central(length, blur):
    """The central 98 % of an even mass that is smoothed: by pixels, spline and Gaussian."""

    def excess(z):  # of a standard normal law over z
        return stats.norm.pdf(z) - z * stats.norm.sf(z)

    def outside(q):
        near, far = excess((q - length / 2) / blur), excess((q + length / 2) / blur)
        return blur / length * (near - far) - 0.01

    return 2 * optimize.brentq(outside, 0.0, length)


def values(image):
    return {name: v.item() for name, v in measure(np.array(image)[None]).items()}


# The enlargement.


@pytest.mark.parametrize("shape", [(28, 28), (17, 28), (40, 12)])
def test_enlargement_is_scikit_images(digits, shape):
    if shape == (28, 28):
        images = digits.images[:100].numpy()
    else:
        images = np.random.default_rng(0).integers(0, 256, (20, *shape)).astype(np.uint8)
    expected = [np.rint(255 * pyramid_expand(image, 4, order=3)) for image in images]
    np.testing.assert_array_equal(enlarge(images), np.array(expected))


# Known strokes.


@pytest.mark.parametrize("thickness", THICKNESSES)
def test_thickness_of_lines_rings_and_zigzags(thickness):
    angles = np.linspace(0.05, np.pi + 0.05, 12, endpoint=False)
    lines = [line(angle, thickness) for angle in angles]
    images = np.array([*lines, ring(thickness), stroke(ZIGZAG, thickness)])
    found = measure(images)["thickness"].values
    # The smoothing takes grey from thin strokes and makes them wider, by their own middle grey.
    # Where a zigzag turns, the way to the paper is longer.
    room = 0.32 if thickness < 2 else 0.2
    np.testing.assert_allclose(found[:-1], thickness, atol=room)
    assert abs(found[:-2].mean() - thickness) < (0.2 if thickness < 2 else 0.08)
    assert -room < found[-1] - thickness < max(room, 0.1 * thickness)


@pytest.mark.parametrize("thickness", [1.5, 2.0, 3.0])
def test_length(thickness):
    # Steps on a grid are too long for slopes between 0 and 45 degrees, at most by 8.2 %.
    straight, diagonal = line(0.0, thickness, 9.0), line(np.pi / 4, thickness, 9.0)
    for image in (straight, diagonal, straight.T):
        assert values(image)["length"] == pytest.approx(18.0, rel=0.07)
    for angle in (0.2, 0.4, 1.0):
        assert 0.95 < values(line(angle, thickness, 9.0))["length"] / 18.0 < 1.12
    assert 1.0 < values(ring(thickness))["length"] / (16 * np.pi) < 1.07
    true = sum(np.hypot(*np.subtract(a, b)) for a, b in itertools.pairwise(ZIGZAG))
    assert values(stroke(ZIGZAG, thickness))["length"] == pytest.approx(true, rel=0.07)


def test_steps_are_one_or_the_root_of_two():
    skeleton = np.zeros((6, 7), bool)
    skeleton[1, 0:4] = True  # three to the side
    skeleton[[2, 3], [4, 5]] = True  # two falling
    skeleton[4, 4] = True  # one rising, seen from below
    assert steps(skeleton) == pytest.approx(3 + 3 * np.sqrt(2))
    assert steps(skeleton.T) == steps(skeleton)
    assert steps(np.eye(3, dtype=bool)[:, ::-1]) == pytest.approx(2 * np.sqrt(2))


@pytest.mark.parametrize("shear", [-0.6, -0.25, 0.0, 0.1, 0.4, 0.7])
def test_slant_width_height_and_area_of_a_bar(shear):
    found = values(bar(shear))
    assert found["slant"] == pytest.approx(np.arctan(shear), abs=0.01)
    assert found["area"] == pytest.approx(6.0 * 20.0, rel=0.02)
    assert found["height"] == pytest.approx(central(20.0, 0.5), abs=0.05)
    for width in (3.0, 6.0, 8.0):
        found = values(bar(shear, width=width))
        assert found["width"] == pytest.approx(central(width, 0.55), abs=0.4)


def test_area_of_a_ring_and_a_disc():
    for thickness in (2.0, 3.0, 5.0):
        area = 2 * np.pi * 8.0 * thickness
        assert values(ring(thickness))["area"] == pytest.approx(area, rel=0.03)
    disc = render(lambda x, y: np.hypot(x - 14.3, y - 13.6) <= 9.0)
    assert values(disc)["area"] == pytest.approx(81 * np.pi, rel=0.01)


def test_the_published_numbers_of_a_digit():
    image = np.frombuffer(zlib.decompress(base64.b85decode(FIRST)), np.uint8).reshape(28, 28)
    assert image.sum() == 27_525
    found = values(image)
    # Theirs are of values cut to 8 bits, and thickness is on another skeleton.
    room = {"area": 0.2, "thickness": 0.15, "slant": 0.0015, "width": 0.05, "height": 0.1}
    for name, published in PUBLISHED.items():
        assert found[name] == pytest.approx(published, abs=room[name]), name


# Real digits.


def test_real_digits(digits):
    found = measure(digits.images)
    assert list(found.data_vars) == list(UNITS)
    assert found.attrs == {"unmeasured": 0, "version": VERSION}
    for name, unit in UNITS.items():
        assert found[name].dims == ("image",)
        assert found[name].dtype == np.float64
        assert found[name].attrs["units"] == unit
        assert np.isfinite(found[name]).all()
    # The whole of MNIST has .67, .63 and .03.
    for one, other, expected in (
        ("area", "thickness", 0.67),
        ("area", "width", 0.63),
        ("thickness", "slant", 0.03),
    ):
        rank = stats.spearmanr(found[one], found[other]).statistic
        assert rank == pytest.approx(expected, abs=3 / np.sqrt(len(digits)))
    assert 2.0 < found["thickness"].median() < 3.5
    assert 0.0 < found["slant"].median() < 0.3  # most people lean to the right
    assert 17.0 < found["height"].median() < 20.5  # MNIST's boxes of 20 pixels


def test_mirrored_digits_lean_to_the_other_side(digits):
    images = digits.images[:50].numpy()
    found, mirrored = measure(images), measure(images[:, :, ::-1])
    np.testing.assert_allclose(mirrored["slant"], -found["slant"], atol=1e-12)
    for name in ("area", "height"):
        np.testing.assert_allclose(mirrored[name], found[name], rtol=1e-12)
    np.testing.assert_allclose(mirrored["width"], found["width"], atol=0.3)


def test_an_image_is_measured_alike_in_any_batch(digits):
    images = digits.images[:131]  # more than a batch
    found = measure(images)
    assert measure(images).identical(found)
    for row in (0, 127, 128, 130):
        alone = measure(images[row : row + 1])
        assert alone.identical(found.isel(image=slice(row, row + 1)))
    assert measure(images[:0]).sizes["image"] == 0


def test_generated_images_are_measured_as_real_ones_are(digits):
    images = digits.images[:20]
    expected = measure(images)
    assert measure(images.numpy()).identical(expected)
    for grey in (images / 255.0, images.double() / 255, (images / 255.0).numpy()):
        assert measure(grey).identical(expected)
    assert measure((images / 255.0).requires_grad_()).identical(expected)
    # Whatever is left of the grey is rounded away before it is measured.
    for rest in (1e-3, -1e-3):
        assert measure((images.double() / 255 + rest).clamp(0, 1)).identical(expected)
    half = measure((images / 255.0).bfloat16())
    np.testing.assert_allclose(half["thickness"], expected["thickness"], atol=0.1)


def test_arrays_and_tensors_of_few_bits_are_measured_alike(digits):
    for dtype in (np.float16, np.float32):
        # A little off the grey levels and near the middles between them.
        near = (digits.images[:20].double() / 255 + 0.5 / 255).clamp(0, 1).numpy().astype(dtype)
        expected = measure(near.astype(np.float64))
        assert measure(near).identical(expected)
        assert measure(torch.from_numpy(near)).identical(expected)


def test_the_frame_of_the_ink_changes_nothing(digits):
    images = digits.images[:40].numpy()
    images = np.concatenate([images, np.rint(255 - images * 0.9).astype(np.uint8)])  # up to edges
    large = enlarge(images).astype(int)
    found = measure(images)
    for number, grey in enumerate(large):
        ink = 2 * grey >= grey.min() + grey.max()
        skeleton = skeletonize(ink)
        thickness = 2 * ndimage.distance_transform_edt(ink)[skeleton].mean() / 4
        assert found["thickness"][number] == pytest.approx(thickness, rel=1e-12)
        assert found["length"][number] == steps(skeleton) / 4
        assert found["area"][number] == ink.sum() / 16


def test_skeletons_are_those_of_the_measurement(digits):
    images = np.concatenate([digits.images[:130].numpy(), np.zeros((1, 28, 28), np.uint8)])
    found = list(skeletons(images))
    lengths = [steps(skeleton) / 4 for skeleton in found]
    assert {skeleton.shape for skeleton in found} == {(112, 112)}
    np.testing.assert_array_equal(lengths[:-1], measure(images)["length"][:-1])
    assert not found[-1].any()


# Images that can't be measured.


def test_blank_and_broken_images_are_counted(digits):
    images = (digits.images[:12] / 255.0).numpy()
    expected = measure(images[[0, 11]])
    images[1] = 0.0  # white
    images[2] = 1.0  # black
    images[3] = 0.5  # grey
    images[4] *= 0.05  # too faint to see
    images[5, 3, 3] = np.nan
    images[6, 0, 0] = np.inf
    images[7] = np.nan
    images[8] = 0.0
    images[8, 3, 3] = 0.1  # a speck, of less than a tenth after the smoothing
    found = measure(images)
    broken = np.isnan(found["area"].values)
    assert broken.tolist() == [False] + 8 * [True] + 3 * [False]
    assert found.attrs["unmeasured"] == 8
    for name in UNITS:
        np.testing.assert_array_equal(np.isnan(found[name]), broken)
    assert found.isel(image=[0, 11]).drop_attrs().identical(expected.drop_attrs())


def test_a_tenth_of_full_contrast_is_visible():
    for grey, unmeasured in ((25, 1), (26, 0)):
        image = np.where(bar(0.0, width=10.0) > 0, grey, 0).astype(np.uint8)
        assert np.ptp(enlarge(image[None])) == grey
        assert measure(image[None]).attrs["unmeasured"] == unmeasured


@pytest.mark.parametrize("shape", ["noise", "pixel", "edge", "corner", "negative", "full row"])
def test_odd_images_never_crash(shape):
    image = np.zeros((28, 28), np.uint8)
    if shape == "noise":
        image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    elif shape == "pixel":
        image[14, 14] = 255
    elif shape == "edge":
        image[0] = image[:, 27] = 255
    elif shape == "corner":
        image[0, 0] = image[27, 27] = 255
    elif shape == "negative":
        image[:] = 255
        image[10:18, 10:18] = 0
    else:
        image[14] = 255
    found = measure(image[None])
    finite = {bool(np.isfinite(v)) for v in found.values()}
    assert len(finite) == 1
    assert found.attrs["unmeasured"] == (0 if finite == {True} else 1)


def test_ink_without_a_skeleton_is_not_measured(monkeypatch):
    # Thinning takes a square of two by two pixels away as a whole.
    from pyro_mivae import morphometry

    monkeypatch.setattr(morphometry, "_skeleton", np.zeros_like)
    found = measure(bar(0.1)[None])
    assert found.attrs["unmeasured"] == 1
    assert all(np.isnan(v) for v in found.values())


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (torch.zeros(2, 28, 28, dtype=torch.int64), TypeError, "expected uint8, 0 to 255.*int64"),
        (np.zeros((2, 28, 28), bool), TypeError, "found bool"),
        (torch.zeros(2, 1, 28, 28), ValueError, r"expected \(N, H, W\).*images\[:, 0\]"),
        (np.zeros((28, 28)), ValueError, r"give one image as images\[None\]"),
        (torch.zeros(2, 3, 28), ValueError, "at least 4 by 4"),
        (torch.full((2, 28, 28), 1.5), ValueError, "found 1.5 to 1.5; divide by 255"),
        (torch.full((2, 28, 28), -0.1), ValueError, "from 0 .paper. to 1 .ink."),
    ],
)
def test_what_is_no_image_is_an_error(images, error, words):
    with pytest.raises(error, match=words):
        measure(images)
