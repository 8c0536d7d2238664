"""Models that read their data beside their sample statements."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import sandwich

pytestmark = pytest.mark.usefixtures("float64")
SLOPE, SCALE = 0.9, 0.5
WORDS = r"x' of the sites \['x'\] is drawn given the real data"


def forced(x):
    """A series of two, each drawn around the one before in the argument."""
    before = torch.cat([torch.zeros(len(x), 1), x[:, :-1]], -1)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(SLOPE * before + z[..., None], SCALE).to_event(1), obs=x)


def free(x):
    """The same, around what was drawn."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        value = torch.zeros(len(x))
        for t in range(2):
            value = pyro.sample(f"x_{t}", dist.Normal(SLOPE * value + z, SCALE), obs=x[:, t])


def posterior(x):
    before = torch.cat([torch.zeros(len(x), 1), x[:, :-1]], -1)
    precision = 1 + 2 / SCALE**2
    with pyro.plate("data", len(x)):
        loc = (x - SLOPE * before).sum(-1) / SCALE**2 / precision
        pyro.sample("z", dist.Normal(loc, precision**-0.5))


def test_teacher_forcing_is_noticed():
    x = torch.randn(10, 2)
    for channel in ("sample", "mean"):
        with pytest.warns(UserWarning, match=WORDS):
            TraceMI_ELBO(channel=channel).terms(forced, posterior, x)
    with pytest.warns(UserWarning, match=WORDS):
        sandwich(forced, posterior, x, num_samples=2, parallel=1, progress=False)


def test_what_goes_on_from_its_own_draws_has_the_information_of_the_model():
    x = torch.randn(4000, 2)
    terms = TraceMI_ELBO(channel="sample").terms(free, posterior, x)
    exact = 0.5 * math.log(1 + 2 / SCALE**2)
    assert abs(terms["mi"].item() / 4000 - exact) < 4 * math.sqrt(2 / 4000)


def test_a_size_of_the_data():
    """Counts around their total: given as an argument of its own it is a covariate."""

    def model(x, size=None):
        size = x.sum(-1) if size is None else size
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            rate = size[:, None] * torch.stack([z, -z], -1).softmax(-1)
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)

    def guide(x, size=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x[:, 0] / (1 + x.sum(-1))).logit(eps=0.01) / 2, 0.5))

    x = torch.poisson(torch.full((10, 2), 5.0))
    with pytest.warns(UserWarning, match=WORDS):
        TraceMI_ELBO(channel="sample").terms(model, guide, x)
    TraceMI_ELBO(channel="sample").terms(model, guide, x, x.sum(-1))


@pytest.mark.parametrize("number", [1, 3])
def test_the_look_leaves_the_buffers_that_the_first_backward_pass_has_saved(number):
    """In model and guide: autograd has saved a buffer that each run of the module writes to."""
    norms = [nn.BatchNorm1d(2), nn.BatchNorm1d(2)]

    def through(norm, x):
        return norm(x) * norm.running_var * norm.bias

    def normal(name, loc, **settings):
        return pyro.sample(name, dist.Normal(loc, 1.0).to_event(1), **settings)

    def model(x):
        pyro.module("decode", norms[0])
        with pyro.plate("data", len(x)):
            normal("x", through(norms[0], normal("z", torch.zeros(2))), obs=x)

    def guide(x):
        pyro.module("encode", norms[1])
        with pyro.plate("data", len(x)):
            normal("z", through(norms[1], x))

    for norm in norms:
        nn.init.constant_(norm.bias, 0.5)
    elbo = TraceMI_ELBO(channel="straight-through", num_dual_samples=number)
    assert math.isfinite(elbo.loss_and_grads(model, guide, torch.randn(6, 2)))
    assert all(norm.bias.grad.isfinite().all() for norm in norms)
