"""Generators whose information is known, from draws of the prior to the result."""

import math
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pictures import CLASSES, SIDE, draw, pixels, real_images
from torch import nn
from torch.nn import functional as F

from pyro_mivae.information import generator_information, train_reader
from pyro_mivae.vae import MIVAE

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.xdist_group("generator")]

BATCH = torch.zeros(250, SIDE, SIDE)
DRAWS = {"num_draws": 1000, "num_moved": 500}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    settings = {"measure": pixels, "steps": 60, "cache_dir": folder}
    return train_reader(*real_images(300), *real_images(1000, 1), **settings)


def make(image, likelihood="mean"):
    """A model with two uniform codes, a category and noise, which draws by ``image(c, d, z)``."""

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
            d = pyro.sample("d", dist.OneHotCategorical(torch.ones(CLASSES)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = image(c, d, z)
            if likelihood == "mean":  # of a GAN: a point
                pyro.sample("x", dist.Delta(mean, event_dim=2), obs=x)
            else:
                pyro.sample("x", dist.Bernoulli(mean).to_event(2), obs=x)

    return model


def direct(c, d, z):
    return draw(c[..., 0], c[..., 1], d)


def measure(model, reader, **settings):
    settings = {"channel": "mean", "codes": ("c", "d"), **DRAWS, **settings}
    return generator_information(model, BATCH, reader=reader, **settings)


@pytest.fixture(scope="module")
def perfect(reader):
    with pyro.validation_enabled(True):
        return measure(make(direct), reader)


def test_a_generator_that_draws_its_codes(perfect, reader):
    """Uniform codes that are the factors: all information is there, each total effect is 1."""
    assert perfect.codes == ("c[0]", "c[1]", "d")
    assert perfect.factors == ("thickness", "slant", "label")
    mi, ceiling = perfect.information.matrix.values, perfect.information.ceiling
    np.testing.assert_allclose(np.diag(mi)[:2], np.diag(ceiling)[:2], atol=0.13)  # 8 bits
    assert mi[2, 2] == pytest.approx(math.log(CLASSES), abs=0.05)
    assert np.abs(mi - np.diag(np.diag(mi))).max() < 0.05
    assert perfect.alignment.mean == pytest.approx(perfect.information.alignment_ceiling, abs=0.26)
    assert perfect.information.matched == ("c[0]", "c[1]")
    assert perfect.information.num_images == 1000
    errors = 4 * perfect.effects_standard_errors + 0.02  # 8 bits, and the data's variance
    assert (np.abs(perfect.effects - np.eye(3)) < errors).all()
    assert (perfect.effects_floor == 0).all()
    assert perfect.classes["d"].accuracy > 0.98
    assert perfect.accuracy == reader.accuracy
    assert perfect.quality.frechet < 0.05 * perfect.quality.frechet_variance
    assert max(perfect.quality.distances.values()) < 0.08
    assert perfect.quality.rarest > 0.28
    assert perfect.quality.unmeasured == 0


def test_effects_add_up_where_a_factor_has_two_causes(reader):
    """Thickness .6 c0 + .4 z: effects .36 and .16 in units of the uniform, and the noise's."""

    def image(c, d, z):
        return draw(0.6 * c[..., 0] + 0.4 * torch.special.ndtr(z), c[..., 0] * 0 + 0.5, d)

    measured = measure(make(image), reader, codes=("c", "z"))
    assert measured.codes == ("c[0]", "c[1]", "z")
    effects, errors = measured.effects, 4 * measured.effects_standard_errors + 0.02
    expected = [[0.36, 0, 0], [0, 0, 0], [0.16, 0, 0]]
    assert (np.abs(effects - expected) < errors).all()
    assert (measured.information.matrix.values[:, 1] == 0).all()  # constant
    assert not measured.classes


def test_codes_take_turns():
    """A code drawn anew leaves the others and the noise as they were."""
    seen = []

    def image(c, d, z):
        seen.append((c.clone(), d.clone(), z.clone()))
        return direct(c, d, z)

    from pyro_mivae.information.generator.draws import Generator, draw_images

    generator = Generator(make(image), (BATCH,), {}, "mean", {"c": None, "d": None}, (), None, None)
    with torch.no_grad():
        draws = draw_images(generator, num_draws=250, num_moved=250)
    c, d, z = seen[0]  # then runs that look which sites depend on others
    (c_other, d_other, _), *again = seen[-(2 + len(draws.columns)) :]
    for column, (c_now, d_now, z_now) in enumerate(again):
        assert torch.equal(z_now, z)
        assert torch.equal(d_now, d_other if column == 2 else d)
        for dim in (0, 1):
            assert torch.equal(c_now[:, dim], (c_other if column == dim else c)[:, dim])
    assert len(again) == 4
    np.testing.assert_array_equal(draws.codes[:, :2], c.double())
    np.testing.assert_array_equal(draws.codes[:, 2], d.argmax(-1))
    assert draws.again is None
    np.testing.assert_array_equal(draws.images, np.rint(255 * direct(c, d, z).double().numpy()))
    assert (draws.moved[0] != draws.images).any((1, 2)).mean() > 0.9


def test_one_dimension_of_a_site(reader, perfect):
    measured = measure(make(direct), reader, codes={"c": 1, "d": None})
    assert measured.codes == ("c[1]", "d")
    assert measured.alignment is None
    np.testing.assert_allclose(
        measured.information.matrix.values, perfect.information.matrix.values[1:], atol=0.05
    )


def test_kinds_of_codes(reader):
    """Categories as numbers, coins, counts and several one-hot vectors each are codes."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(CLASSES)))
            b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            n = pyro.sample("n", dist.Poisson(3.0))
            h = pyro.sample("h", dist.OneHotCategorical(torch.ones(2, 4)).to_event(1))
            level = (b[..., 0] + 2 * h[..., 1, :].argmax(-1)) / 8
            mean = draw(level, (n / 20).clamp(max=1), F.one_hot(k, CLASSES))
            pyro.sample("x", dist.Normal(mean, 0.1).to_event(2), obs=x)

    measured = measure(model, reader, codes=None)
    assert measured.codes == ("k", "b[0]", "b[1]", "n", "h[0]", "h[1]")
    assert list(measured.classes) == ["k", "b[0]", "b[1]", "h[0]", "h[1]"]
    mi = measured.information.matrix.values
    assert mi[0, 2] == pytest.approx(math.log(3), abs=0.05)
    assert mi[1, 0] == pytest.approx(math.log(2), abs=0.05)
    assert mi[5, 0] == pytest.approx(math.log(4), abs=0.05)
    assert mi[3, 1] > 1
    assert max(mi[2].max(), mi[4].max()) < 0.03
    moves = measured.effects > 0
    assert moves.tolist() == [
        [False, False, True],
        [True, False, False],
        [False, False, False],
        [False, True, False],
        [False, False, False],
        [True, False, False],
    ]


def test_drawn_pixels_are_measured_as_they_are(reader):
    """A drawn pixel is 0 or 1: thickness tells one bit, and moves with nothing drawn anew."""
    model = make(direct, "bernoulli")
    mean, drawn = (measure(model, reader, channel=channel) for channel in ("mean", "sample"))
    first, second = (m.information.matrix.values[0, 0] for m in (mean, drawn))
    # I(p; Bernoulli(p)) of a uniform p: log 2 - 1/2.
    assert second == pytest.approx(math.log(2) - 0.5, abs=0.05)
    assert first > 10 * second
    assert (mean.effects_floor == 0).all()
    # Half of 2 E[p(1 - p)] = 1/6, in units of 1/12.
    assert drawn.effects_floor[0] == pytest.approx(2, abs=0.35)
    assert drawn.effects[0, 0] == pytest.approx(3, abs=0.45)  # half of 2 p(1 - p') = 1/4
    assert "drawn pixels are measured" in str(drawn)
    assert "drawn" not in str(mean)


def test_draws_that_are_no_site_are_seen(reader):
    def image(c, d, z):
        return draw(torch.rand(len(z)), c[..., 1], d)

    measured = measure(make(image), reader)
    assert measured.effects_floor[0] == pytest.approx(1, abs=0.2)
    assert measured.effects_floor[1] == 0
    assert "(nothing anew)" in str(measured)


def test_the_librarys_vae(reader):
    torch.manual_seed(0)
    vae = MIVAE(code_dim=2, noise_dim=1, categories=3, image_shape=(SIDE, SIDE))
    images = real_images(200)[0]
    before = torch.get_rng_state()
    settings = {"reader": reader, "codes": vae.codes, "prepare": vae.observe, **DRAWS}
    one, two = (
        generator_information(vae.model, images, channel="mean", seed=seed, **settings)
        for seed in (1, 1)
    )
    other = generator_information(vae.model, images, channel="mean", seed=2, **settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.codes == ("c[0]", "c[1]", "d")
    assert one.numbers() == two.numbers()
    assert one.numbers() != other.numbers()


def test_arguments_may_hold_fewer_or_more_data(reader):
    for number in (1000, 300, 1):
        settings = {"channel": "mean", "codes": "c", "num_draws": 60, "num_moved": 10}
        measured = generator_information(
            make(direct), torch.zeros(number, SIDE, SIDE), reader=reader, **settings
        )
        assert measured.num_draws == measured.quality.num_images == 60


def test_images_of_another_scale_are_made_by_a_function(reader):
    def image(c, d, z):
        return 2 * direct(c, d, z).flatten(-2).unflatten(-1, (SIDE, SIDE)) - 1

    with pytest.raises(ValueError, match=r"site 'x': expected grey values .* to_images=lambda x"):
        measure(make(image), reader)
    measured = measure(make(image), reader, to_images=lambda x: (x + 1) / 2)
    assert measured.alignment.mean > 5


def test_too_few_strokes_leave_the_rest(reader):
    def blank(c, d, z):
        image = direct(c, d, z).clone()
        image[..., 0, 2] = 1
        return image

    measured = measure(make(blank), reader)
    assert measured.information is measured.alignment is measured.amount is None
    assert measured.quality.unmeasured == 1
    assert measured.classes["d"].accuracy > 0.9
    assert "not measured, too few images have strokes" in str(measured)
    assert math.isnan(measured.numbers()["alignment"])
    assert measured.to_xarray()["mi"].isnull().all()


def test_the_result_reads_as_words_and_tables(perfect):
    text = str(perfect)
    assert all(len(line) <= 100 for line in text.splitlines())
    for words in (
        r"GeneratorInformation of 1000 images \(means of x'\)",
        r"information, nats +thickness +slant +label",
        r"c\[0\] +2\.\d{3} +0\.0\d\d +0\.0\d\d",
        r"\(ceiling\) +2\.\d{3}",
        r"alignment 5\.\d{3} ± 0\.\d{3} nats \(ceiling 5\.\d{3}\), amount 5\.\d{3} ± ",
        r"c\[0\] stands for thickness and c\[1\] for slant",
        r"class accuracy of d: \d+\.\d %",
        r"rarest class \d: 3\d\.\d %",
        r"accuracy of the reader on real test images: \d+\.\d %",
    ):
        assert re.search(words, text), words
    table = perfect.to_dataframe()
    assert table.loc[("c[1]", "slant"), "mi"] == perfect.information.matrix.values[1, 1]
    assert {"mi", "mi_se", "mi_null", "mi_within", "effect", "effect_se"} <= set(table.columns)
    data = perfect.to_xarray()
    assert data["mi"].attrs["units"] == "nats"
    assert float(data["alignment"]) == perfect.alignment.mean
    np.testing.assert_array_equal(data["ceiling"], np.diag(perfect.information.ceiling))
    assert data["law_distance"].sel(factor="slant") == perfect.quality.distances["slant"]
    assert all(isinstance(value, float) for value in perfect.numbers().values())


def outside_the_plate(x):
    c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        mean = draw(*c.expand(len(x), 2).T, torch.eye(3)[0].expand(len(x), 3))
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(2), obs=x)


def two_sites(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(draw(*c.T, 0 * x[:, 0, :3]), 1.0).to_event(2), obs=x)
        pyro.sample("y", dist.Normal(c[..., 0], 1.0), obs=x[:, 0, 0])


def flat(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
        image = draw(*c.T, 0 * x[:, 0, :3]).flatten(-2)
        pyro.sample("x", dist.Normal(image, 1.0).to_event(1), obs=x.flatten(1))


def test_one_of_two_sites_has_the_images(reader):
    assert measure(two_sites, reader, codes="c", site="x").alignment.mean > 5
    assert (
        measure(
            flat, reader, codes="c", to_images=lambda x: x.reshape(-1, SIDE, SIDE)
        ).alignment.mean
        > 5
    )


@pytest.mark.parametrize(
    ("model", "change", "error", "words"),
    [
        (make(direct), {"channel": None}, TypeError, "the channel has no default"),
        (make(direct), {"channel": "sleep"}, ValueError, "expected 'mean' or 'sample', since"),
        (make(direct), {"num_moved": 2000}, ValueError, "num_draws=1000, num_moved=2000"),
        (make(direct), {"num_draws": 1, "num_moved": 1}, ValueError, "at least 2 images"),
        (make(direct), {"pair": ("thickness", "weight")}, ValueError, "pair: expected two of"),
        (make(direct), {"codes": "e"}, ValueError, "codes names the site 'e'"),
        (make(direct), {"site": "y"}, ValueError, r"site: expected one of \['x'\], found 'y'"),
        (outside_the_plate, {"codes": "c"}, ValueError, "put the code into the plate"),
        (two_sites, {"codes": "c"}, ValueError, r"found \['x', 'y'\]: name the site of the images"),
        (flat, {"codes": "c"}, ValueError, r"expected images .* \(250, 36\): give a function"),
        (make(lambda c, d, z: 255 * direct(c, d, z)), {}, ValueError, "from 0 to 255"),
        (make(lambda c, d, z: direct(c, d, z) * math.nan), {}, ValueError, "expected finite imag"),
    ],
)
def test_errors(reader, model, change, error, words):
    with pytest.raises(error, match=words), pyro.validation_enabled(False):
        measure(model, reader, **change)


def test_modules_are_in_evaluation_mode(reader):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
                mean = draw(*self.drop(self.norm(c)).T.clamp(0, 1), 0 * x[:, 0, :3])
                pyro.sample("x", dist.Delta(mean, event_dim=2), obs=x)

    model = Model()
    measured = measure(model, reader, codes="c")
    assert measured.alignment.mean > 5
    assert model.training
    assert model.norm.num_batches_tracked == 0
