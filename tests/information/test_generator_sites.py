"""Generators whose codes depend on covariates, on each other, or lie in several plates."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pictures import SIDE, draw, pixels, real_images

from pyro_mivae.information import generator_information, train_reader

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.xdist_group("generator")]

N = 400
BATCH = torch.zeros(N, SIDE, SIDE)
COVARIATE = torch.rand(N, generator=torch.Generator().manual_seed(2))
NO_LABEL = torch.zeros(3)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    settings = {"steps": 20, "cache_dir": tmp_path_factory.mktemp("reader")}
    return train_reader(*real_images(200), *real_images(500, 1), measure=pixels, **settings)


def measure(model, reader, *args, **settings):
    settings = {"channel": "mean", "num_draws": 800, "num_moved": 400, **settings}
    return generator_information(model, *args, reader=reader, **settings)


def point(name, image):
    pyro.sample(name, dist.Delta(image, event_dim=2), obs=torch.zeros(image.shape))


@pytest.mark.parametrize("size", [None, 100])
def test_a_code_is_drawn_anew_for_the_same_data(reader, size):
    """Given its covariate the code is known: nothing changes, in a part of the data, too."""

    def model(y, size):
        with pyro.plate("data", len(y), subsample_size=size) as index:
            c = pyro.sample("c", dist.Normal(y[index], 1e-3))
            point("x", draw(c.clamp(0, 1), 0 * c, NO_LABEL.expand(len(c), 3)))

    measured = measure(model, reader, COVARIATE, size)
    assert measured.effects[0, 0] < 1e-3
    assert measured.information.matrix.values[0, 0] > 2


def test_a_code_is_drawn_anew_given_its_parents(reader):
    """e follows c: with c kept its effect is that of its own part."""

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(0.0, 1.0))
            e = pyro.sample("e", dist.Uniform(0.8 * c, 0.8 * c + 0.2))
            point("x", draw(c, e, NO_LABEL.expand(len(x), 3)))

    measured = measure(model, reader, BATCH)
    assert measured.codes == ("c", "e")
    expected = np.array([[1, 0], [0, 0.04]])  # in units of the variance of U(0, 1)
    errors = 4 * measured.effects_standard_errors[:, :2] + 0.02
    assert (np.abs(measured.effects[:, :2] - expected) < errors).all()


@pytest.mark.parametrize(
    "prior",
    [
        dist.Dirichlet(torch.ones(3)),
        dist.MultivariateNormal(torch.zeros(3), torch.ones(3, 3) + 0.01 * torch.eye(3)),
        dist.RelaxedOneHotCategorical(torch.tensor(0.5), torch.ones(3)),
    ],
)
def test_a_dimension_that_depends_on_others_has_no_effect_of_its_own(reader, prior):
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", prior)
            d = pyro.sample("d", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
            first = (c.sum(-1) / 2).clamp(0, 1)
            point("x", draw(first, d[:, 0], NO_LABEL.expand(len(x), 3)))

    measured = measure(model, reader, BATCH)
    assert np.isnan(measured.effects[:3]).all()
    assert np.isnan(measured.effects_standard_errors[:3]).all()
    assert measured.effects[3, 1] == pytest.approx(1, abs=0.2)
    assert "can't be drawn anew alone, or measured: c[0], c[1], c[2]" in str(measured)


@pytest.mark.parametrize("count", [2, 50])
def test_a_code_in_a_plate_outside_of_the_data_is_refused(reader, count):
    """Of two images its axes would be taken for each other's."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("twice", 2, dim=-2):
                c = pyro.sample("c", dist.Uniform(0.0, 1.0))
            point("x", draw(c[0], c[1], NO_LABEL.expand(len(x), 3)))

    with pytest.raises(ValueError, match="put the code into the plate of the images"):
        measure(model, reader, BATCH[:count])


def test_codes_in_a_plate_of_their_own_are_measured(reader):
    def model(x):
        with pyro.plate("codes", len(x)):
            c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            point("x", draw(*c.T, NO_LABEL.expand(len(x), 3)))

    assert measure(model, reader, BATCH).alignment.mean > 4


def codes_to_images(shape):
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(torch.zeros(2), 1.0).to_event(1))
            image = draw(*c.T, NO_LABEL.expand(len(x), 3)).reshape(-1, *shape)
            value = dist.Delta(image, event_dim=len(shape))
            pyro.sample("x", value, obs=torch.zeros(image.shape))

    return model


def test_real_and_generated_images_are_measured_in_one_shape(tmp_path):
    shapes = []

    def noted(images):
        shapes.append(images.shape[1:])
        return pixels(images)

    images, labels = real_images(200)
    given = images[:, None], labels
    reader = train_reader(*given, *given, measure=noted, steps=5, cache_dir=tmp_path)
    measured = measure(codes_to_images((1, SIDE, SIDE)), reader, BATCH)
    assert set(shapes) == {(SIDE, SIDE)}
    assert measured.alignment.mean > 4
    arrays = images.numpy(), labels.numpy()
    same = train_reader(*arrays, *arrays, measure=pixels, steps=5, cache_dir=tmp_path)
    assert same.accuracy == reader.accuracy


@pytest.mark.parametrize("shape", [(4, 9), (12, 3), (2, 3, 6)])
def test_images_of_another_size_than_the_readers_are_refused(reader, shape):
    """As many pixels would be read in other rows."""
    with pytest.raises(ValueError, match=r"trained on, \(1, 6, 6\), found \(\d, \d+, \d\)"):
        measure(codes_to_images(shape), reader, BATCH)
