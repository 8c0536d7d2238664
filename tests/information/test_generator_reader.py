"""The reader of images, and the distances of generated from real ones."""

import math
import re

import numpy as np
import pytest
import torch
from pictures import pixels, real_images
from scipy import linalg, stats

from pyro_mivae import morphometry
from pyro_mivae.information import frechet_distance, train_reader
from pyro_mivae.information.generator.quality import image_quality, law_distance
from pyro_mivae.information.generator.reader import Readings, strokes

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder, **settings):
    settings = {"measure": pixels, "steps": 60, **settings}
    return train_reader(*real_images(300), *real_images(400, 1), cache_dir=folder, **settings)


@pytest.mark.xdist_group("generator")
def test_classes_are_told_and_factors_measured(tmp_path):
    before = torch.get_rng_state()
    reader = trained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert reader.accuracy > 0.98
    images, labels = real_images(50, 2)
    readings = reader.read(images)
    assert (readings.labels == labels.numpy()).mean() > 0.95
    np.testing.assert_array_equal(readings.factors["slant"], images[:, 0, 1].numpy() / 255)
    assert readings.features.shape == (50, 64)
    assert ((readings.certainty > 1 / 3) & (readings.certainty <= 1)).all()
    images[3, 0, 2] = 255
    assert np.flatnonzero(~reader.read(images.numpy()).measurable).tolist() == [3]
    assert set(reader.read(images).table("label")) == {"thickness", "slant", "label"}
    assert len(reader.real.labels) == reader.num_test == 400
    assert re.search(r"3 classes, \d+\.\d % of 400 test images right", repr(reader))


@pytest.mark.xdist_group("generator")
def test_the_network_is_trained_once(tmp_path, caplog):
    caplog.set_level("INFO", logger="pyro_mivae.information.generator.reader")
    first, second = trained(tmp_path), trained(tmp_path)
    assert len(caplog.records) == len(list(tmp_path.glob("reader-*.npz"))) == 1
    np.testing.assert_array_equal(first.real.features, second.real.features)
    trained(tmp_path, seed=1)
    assert len(caplog.records) == 2


@pytest.mark.xdist_group("generator")
def test_classes_need_not_be_numbered_from_0(tmp_path):
    images, labels = real_images(300)
    reader = train_reader(
        images, 10 * labels + 5, images, 10 * labels + 5, measure=pixels, steps=60,
        cache_dir=tmp_path,
    )  # fmt: skip
    assert set(reader.read(images).labels) == {5, 15, 25}
    assert reader.accuracy > 0.98


def test_strokes_are_morphometrys(digits):
    images = digits.test.images[:6].numpy().copy()
    images[2] = 0
    factors, expected = strokes(images), morphometry.measure(images)
    assert list(factors) == ["thickness", "slant", "width"]
    for name, values in factors.items():
        np.testing.assert_array_equal(values, expected[name])
    assert np.isnan(factors["width"][2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": torch.zeros(300, 6, 6)}, "images, labels: expected uint8 images, .*float32"),
        ({"labels": torch.zeros(3).long()}, "a whole number for each of the 300 images"),
        ({"test_labels": torch.zeros(300)}, "test_images, test_labels: .* found torch.float32"),
        ({"labels": torch.zeros(300).long()}, r"at least two classes, found \[0\]"),
        ({"test_images": torch.zeros(300, 5, 6).byte()}, r"size of images, \(6, 6\), found \(5, 6"),
        ({"steps": 0}, "steps, batch_size: expected at least 1, found 0 and 64"),
        ({"measure": lambda images: {"a": np.zeros(2)}}, r"measure: expected factors by name"),
    ],
)
def test_errors(tmp_path, change, words):
    images, labels = real_images(300)
    tensors = dict.fromkeys(("images", "test_images"), images)
    tensors |= dict.fromkeys(("labels", "test_labels"), labels)
    settings = {**tensors, "measure": pixels, "steps": 1, "cache_dir": tmp_path, **change}
    with pytest.raises(ValueError, match=words):
        train_reader(**settings)


def test_frechet_distance_of_normals():
    """Against the closed form with SciPy's matrix root, and for diagonal covariances by hand."""
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 200, 5))
    one, two = one @ rng.standard_normal((5, 5)), 1 + two @ rng.standard_normal((5, 5))
    first, second = np.cov(one.T), np.cov(two.T)
    shift = one.mean(0) - two.mean(0)
    root = linalg.sqrtm(first @ second).real
    expected = shift @ shift + np.trace(first + second - 2 * root)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    wide = 3 * (one - one.mean(0)) + one.mean(0) + [2, 0, 0, 0, 0]
    assert frechet_distance(one, wide) == pytest.approx(4 + 4 * np.trace(first))
    point = np.tile(one.mean(0), (200, 1))
    assert frechet_distance(one, point) == pytest.approx(np.trace(first))
    for wrong in (one[:1], one[:, :3]):
        with pytest.raises(ValueError, match="at least two rows each and equal numbers"):
            frechet_distance(wrong, two)


def test_law_distance():
    rng = np.random.default_rng(1)
    one, two = rng.uniform(size=4000), rng.uniform(size=3000) ** 2
    # P(u <= x) - P(u^2 <= x) = x - sqrt(x) is at most 1/4 away.
    assert law_distance(one, two) == pytest.approx(0.25, abs=0.04)
    assert law_distance(one, two) == pytest.approx(stats.ks_2samp(one, two).statistic)
    assert law_distance(np.append(one, np.nan), one) == 0
    assert math.isnan(law_distance(np.full(3, np.nan), one))


def test_quality_of_images():
    rng = np.random.default_rng(2)

    def readings(labels, thickness):
        number = len(labels)
        return Readings(
            {"thickness": np.asarray(thickness, np.float64)},
            np.asarray(labels),
            np.full(number, 0.9),
            rng.standard_normal((number, 4)),
        )

    real = readings([1, 2, 3, 4] * 100, rng.uniform(size=400))
    missing = np.where(np.arange(400) < 8, np.nan, 0.5)
    quality = image_quality(readings([1, 1, 2, 3] * 100, missing), real, np.array([1, 2, 3, 4]))
    assert quality.shares == {1: 0.5, 2: 0.25, 3: 0.25, 4: 0.0}
    assert (quality.rarest_class, quality.rarest) == (4, 0.0)
    assert quality.label_distance == pytest.approx(0.25)
    assert quality.distances["thickness"] == pytest.approx(0.5, abs=0.1)
    assert quality.unmeasured == pytest.approx(0.02)
    assert quality.certainty == pytest.approx(0.9)
    assert (quality.num_images, quality.num_real) == (400, 400)
    assert quality.frechet < 0.2
    assert quality.frechet_floor < 0.4
    assert quality.frechet_variance == pytest.approx(4, rel=0.2)
