"""Laws that are recovered from their own quantiles; images of which a factor makes a known part."""

import csv

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from experiments.factors.figure import factor_distributions
from experiments.factors.fitted_laws import (
    LAWS,
    QUANTILES,
    factor_law,
    factor_table,
    pixel_share,
)
from experiments.factors.program import _rounded
from experiments.tables import write_table

N = 4_000
MIDDLES = (np.arange(N) + 0.5) / N
TRUE = {
    "uniform": stats.uniform(1.5, 3.0),
    "normal": stats.norm(3.0, 0.5),
    "lognormal": stats.lognorm(0.6, scale=np.exp(0.3)),
    "gamma": stats.gamma(2.0, scale=0.7),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_recovered_from_its_own_quantiles(name):
    law = TRUE[name]
    found = factor_law(law.ppf(MIDDLES)[np.random.default_rng(0).permutation(N)])
    assert found.nearest == name
    # Half a step is the least distance from any continuous law.
    assert 0.5 / N <= found.fits[name].distance < 4e-3
    assert all(fit.distance > 0.02 for other, fit in found.fits.items() if other != name)
    x = law.ppf([0.02, 0.5, 0.98])
    np.testing.assert_allclose(found.fits[name].law.cdf(x), [0.02, 0.5, 0.98], atol=4e-3)
    assert found.count == N
    assert (found.mean, found.sd) == pytest.approx((law.mean(), law.std()), rel=0.01)
    assert found.skewness == pytest.approx(float(law.stats(moments="s")), rel=0.1, abs=1e-9)
    for probability, value in found.quantiles.items():
        assert law.cdf(value) == pytest.approx(probability, abs=1e-3)
    assert tuple(found.quantiles) == QUANTILES


def test_distances_are_scipys():
    values = np.random.default_rng(1).gamma(3.0, size=500)
    for fit in factor_law(values).fits.values():
        assert fit.distance == pytest.approx(stats.kstest(values, fit.law.cdf).statistic)


@pytest.mark.parametrize("name", ["normal", "gamma"])
def test_no_uniform_law_is_nearer_than_the_one_that_is_found(name):
    values = TRUE[name].ppf(MIDDLES[::8])
    found = factor_law(values).fits["uniform"]
    low, high = found.law.support()
    lows, highs = (end + np.linspace(-1, 1, 101) for end in (low, high))
    lows, highs = (ends[..., None] for ends in np.meshgrid(lows, highs))
    cdf = np.clip((values - lows) / (highs - lows), 0, 1)
    above = (np.arange(len(values)) + 1) / len(values)
    distances = np.maximum(above - cdf, cdf - above + 1 / len(values)).max(-1)
    assert found.distance == pytest.approx(distances[50, 50])
    assert found.distance <= distances.min() + 1e-3
    assert np.median(distances) > 1.5 * found.distance


def test_a_uniform_law_looks_this_far_from_normal():
    # sup |Phi(sqrt(12) u) - u - 1/2| over u in (-1/2, 1/2), the same for every uniform law.
    u = np.linspace(-0.5, 0.5, 100_001)
    expected = np.abs(stats.norm.cdf(np.sqrt(12) * u) - u - 0.5).max()
    for law in (stats.uniform(0, 1), stats.uniform(1.5, 3.0)):
        found = factor_law(law.ppf(MIDDLES))
        assert found.fits["normal"].distance == pytest.approx(expected, abs=1e-3)


def test_laws_of_positive_numbers_are_for_those_only():
    values = stats.norm(0.1, 0.25).ppf(MIDDLES)
    assert set(factor_law(values).fits) == {"uniform", "normal"}
    assert set(factor_law(np.abs(values)).fits) == set(LAWS)
    # 0 has no density under them, or an infinite one.
    assert set(factor_law(np.append(np.abs(values), 0.0)).fits) == {"uniform", "normal"}


def test_values_that_are_not_finite_are_left_out():
    values = np.concatenate([MIDDLES, [np.nan, np.inf, -np.inf]])
    found, expected = factor_law(values), factor_law(MIDDLES)
    assert (found.count, found.mean, found.sd) == (N, expected.mean, expected.sd)
    assert found.quantiles == expected.quantiles
    for name, fit in found.fits.items():
        assert fit.distance == expected.fits[name].distance


@pytest.mark.parametrize("values", [[], [1.0] * 50, list(range(9)), [np.nan] * 50])
def test_too_few_values_are_an_error(values):
    with pytest.raises(ValueError, match="expected at least 10 finite numbers"):
        factor_law(values)


def dataset(number=600):
    labels = np.arange(number) % 3
    rng = np.random.default_rng(2)
    return labels, xr.Dataset(
        {
            "thickness": ("image", labels + rng.uniform(1, 3, number), {"units": "px"}),
            "slant": ("image", rng.normal(0.1, 0.2, number), {"units": "rad"}),
        }
    )


def test_the_table_has_a_row_for_each_factor_and_label():
    labels, factors = dataset()
    rows = factor_table(factors, torch.as_tensor(labels))
    assert [(row["factor"], row["label"]) for row in rows] == [
        (factor, label) for factor in factors for label in ("all", "0", "1", "2")
    ]
    assert len({tuple(row) for row in rows}) == 1
    by_name = {(row["factor"], row["label"]): row for row in rows}
    assert by_name["thickness", "all"]["count"] == 600
    for label in range(3):
        row = by_name["thickness", str(label)]
        values = factors["thickness"].values[labels == label]
        found = factor_law(values)
        assert row["count"] == 200
        assert row["units"] == "px"
        assert row["nearest"] == "uniform"
        assert row["ks_gamma"] == found.fits["gamma"].distance
        assert row["q05"] == found.quantiles[0.05]
        assert (row["uniform_low"], row["uniform_high"]) == pytest.approx(
            (label + 1, label + 3), abs=0.15
        )
        assert (row["normal_mean"], row["normal_sd"]) == pytest.approx(
            (values.mean(), values.std())
        )
        logs = np.log(values)
        assert (row["lognormal_mean"], row["lognormal_sd"]) == pytest.approx(
            (logs.mean(), logs.std())
        )
        assert row["gamma_shape"] * row["gamma_scale"] == pytest.approx(values.mean())
    assert np.isnan(by_name["slant", "all"]["ks_lognormal"])
    assert np.isnan(by_name["slant", "1"]["gamma_shape"])


# The share of the pixels' variance.


def images_of(values, labels, noise, shape=(6, 5)):
    """Pixels a v + noise, of amplitude a known for each pixel, and far apart between labels."""
    rng = np.random.default_rng(3)
    amplitude = rng.normal(size=shape)
    made = values[:, None, None] * amplitude + noise * rng.normal(size=(len(values), *shape))
    made += 10.0 * rng.normal(size=(labels.max() + 1, *shape))[labels]
    signal = (amplitude**2).sum()
    return made, signal / (signal + noise**2 * amplitude.size)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_share_of_a_factor_that_moves_the_pixels(noise):
    labels = np.arange(6_000) % 2
    values = np.random.default_rng(4).uniform(-np.sqrt(3), np.sqrt(3), 6_000)
    images, share = images_of(values, labels, noise)
    found = pixel_share(torch.as_tensor(images), values, torch.as_tensor(labels))
    # 20 bins hide 1/400 of a uniform law's variance.
    assert found == pytest.approx(share * (1 - 1 / 400), abs=0.01)
    assert pixel_share(images, np.exp(values), labels) == pytest.approx(found)  # ranks only
    assert pixel_share(images, values, labels * 0) < 0.1 * found  # the labels' part is without


def test_an_unrelated_factor_has_no_share():
    labels = np.zeros(1_000, int)
    values = np.random.default_rng(5).normal(size=1_000)
    images, _ = images_of(values, labels, 1.0)
    rng = np.random.default_rng(6)
    others = [pixel_share(images, rng.normal(size=1_000), labels) for _ in range(20)]
    assert np.mean(others) == pytest.approx(0.0, abs=4 * np.std(others) / np.sqrt(20))
    assert np.std(others) < 0.01
    assert min(others) < 0 < max(others)


def test_share_is_of_all_labels_by_their_variance():
    labels = np.repeat([4, 7], 2_000)
    values = np.random.default_rng(7).uniform(-1, 1, 4_000)
    clear, unclear = (
        images_of(values[labels == label], np.zeros(2_000, int), noise)[0]
        for label, noise in ((4, 0.1), (7, 3.0))
    )
    images = np.concatenate([clear, unclear])
    alone = [
        pixel_share(part, values[labels == label], np.full(2_000, label))
        for label, part in ((4, clear), (7, unclear))
    ]
    weights = [((part - part.mean(0)) ** 2).sum() for part in (clear, unclear)]
    expected = np.average(alone, weights=weights)
    assert alone[0] > 10 * alone[1]
    assert pixel_share(images, values, labels) == pytest.approx(expected)
    mixed = np.random.default_rng(8).permutation(4_000)
    assert pixel_share(images[mixed], values[mixed], labels[mixed]) == pytest.approx(expected)


def test_share_of_bytes_is_that_of_numbers():
    labels, values = np.zeros(200, int), np.linspace(0, 1, 200)
    images = np.random.default_rng(6).integers(0, 256, (200, 4, 4)).astype(np.uint8)
    images[:, 0] = (255 * values[:, None]).astype(np.uint8)
    found = pixel_share(images, values, labels)
    assert found == pytest.approx(pixel_share(images / 255.0, values, labels))
    values[:5] = np.nan
    assert pixel_share(images, values, labels) == pytest.approx(
        pixel_share(images[5:], values[5:], labels[5:])
    )


def test_share_by_hand():
    def share(pixel, values, **kwargs):
        images = np.array(pixel, float)[:, None, None]
        return pixel_share(images, values, np.zeros(len(images)), **kwargs)

    # Squares 20, of which 16 are between the bins and 4 * (4 - 1) / (4 - 2) within.
    assert share([0, 2, 4, 6], [1, 2, 3, 4], bins=2) == pytest.approx(1 - 6 / 20)
    # Equal values share a bin; of three bins two are left. Squares 32, within 5 * 5 / (6 - 2).
    assert share([0, 1, 2, 3, 6, 6], [0, 0, 0, 0, 1, 1], bins=3) == pytest.approx(1 - 6.25 / 32)


def test_share_does_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(9)
    images = np.sort(rng.normal(size=(400, 1, 1)), axis=0)  # by brightness
    labels = np.zeros(400)
    assert pixel_share(images, np.full(400, 3.0), labels) == 0.0
    coarse = np.rint(images[:, 0, 0] + rng.normal(size=400))
    mixed = rng.permutation(400)
    found = pixel_share(images, coarse, labels)
    assert 0.2 < found < 0.8
    assert pixel_share(images[mixed], coarse[mixed], labels) == pytest.approx(found, rel=1e-12)


def test_share_of_arrays_of_any_kind():
    values = np.linspace(-1, 1, 200)
    images = np.random.default_rng(10).normal(size=(200, 2, 2)) + values[:, None, None]
    labels = np.zeros(200, int)
    found = pixel_share(images, values, labels)
    turned = pixel_share(images[::-1], values[::-1], labels[::-1])
    assert turned == pytest.approx(found, rel=1e-12)
    tensors = [torch.as_tensor(images).requires_grad_(), torch.as_tensor(values).requires_grad_()]
    assert pixel_share(*tensors, torch.as_tensor(labels)) == found
    assert factor_law(tensors[1]).mean == factor_law(values).mean


def test_share_says_what_is_broken():
    images = np.random.default_rng(0).normal(size=(50, 4, 4))
    values, labels = np.arange(50.0), np.zeros(50)
    for wrong in ((images[1:], values, labels), (images, values[1:], labels)):
        with pytest.raises(ValueError, match=r"a value and a label of each image, found .*\(49"):
            pixel_share(*wrong)
    with pytest.raises(ValueError, match=r"values \(50,\) and labels \(49,\)"):
        pixel_share(images, values, labels[1:])
    images[7, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"finite pixels, found others in image 7\. Leave"):
        pixel_share(images, values, labels)
    values[7] = np.nan
    assert np.isfinite(pixel_share(images, values, labels))


def test_share_says_what_it_needs():
    images, values = np.zeros((30, 4, 4)), np.arange(30.0)
    with pytest.raises(ValueError, match="label 7 has 30 finite values: expected at least 40"):
        pixel_share(images, values, np.full(30, 7))
    with pytest.raises(ValueError, match="expected some that differ"):
        pixel_share(images, values, np.zeros(30), bins=5)


# The table.


def test_the_table_has_numbers_below_0_as_numbers(tmp_path):
    row = {"factor": "slant", "mean": -0.12345678, "pixel_share": "", "ks_gamma": float("nan")}
    write_table([_rounded(row)], tmp_path, "factors.csv")
    (cells,) = csv.DictReader((tmp_path / "factors.csv").read_text().splitlines())
    assert list(cells.values()) == ["slant", "-0.123457", "", "nan"]


# The figure.


def test_figure_has_a_panel_for_each_factor_with_its_fits():
    _, factors = dataset()
    factors["thickness"][3] = np.nan
    figure = factor_distributions(factors)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["Thickness", "Slant"]
    assert [axes.get_xlabel() for axes in panels] == ["thickness (px)", "slant (rad)"]
    for axes, name in zip(panels, factors, strict=True):
        found = factor_law(factors[name])
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == [
            f"{law}, distance {fit.distance:.3f}" for law, fit in found.fits.items()
        ]
        for line, fit in zip(lines.values(), found.fits.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), fit.law.pdf(line.get_xdata()))
        (stairs,) = axes.patches
        heights, edges, _ = stairs.get_data()
        assert heights @ np.diff(edges) == pytest.approx(1.0, abs=0.005)
    figure.draw_without_rendering()


def test_figure_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="expected variables of dimension 'image', found none"):
        factor_distributions(xr.Dataset())
