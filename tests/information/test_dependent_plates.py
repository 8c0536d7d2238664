"""Plates that promise an independence which model or guide do not have."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import log_evidence, sandwich
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")
TIME, SCALE = 3, 0.8
SUM = torch.tril(torch.ones(TIME, TIME, dtype=torch.float64))
PRECISION = torch.eye(TIME, dtype=torch.float64) + SUM.T @ SUM / SCALE**2


def walk(x):
    """A drift that is summed over time, as ``pyro.contrib.forecast`` does it."""
    with pyro.plate("data", len(x), dim=-2), pyro.plate("time", TIME, dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.cumsum(-1), SCALE), obs=x)


def mean_field(x):
    loc = x @ SUM @ PRECISION.inverse() / SCALE**2
    with pyro.plate("data", len(x), dim=-2), pyro.plate("time", TIME, dim=-1):
        pyro.sample("z", dist.Normal(loc, PRECISION.inverse().diagonal().sqrt()))


def test_information_of_a_latent_that_is_summed_over_time():
    exact = 0.5 * PRECISION.logdet().item()
    x = torch.zeros(600, TIME)
    bounds = sandwich(walk, mean_field, x, num_samples=[1, 60], progress=False)
    assert bounds.lower_per_datum.shape == (2, 600)
    assert bounds.gap.mean < 0.05
    assert abs(bounds.lower.mean - exact) < 4 * bounds.lower.standard_error + 0.05
    elbo = TraceMI_ELBO(channel="sample", num_dual_samples=60)
    with torch.no_grad():
        found = elbo.terms(walk, mean_field, x)["mi"].item() / 600
    assert abs(found - exact) < 4 * bounds.lower.standard_error + 0.05


def test_evidence_of_a_latent_that_is_summed_over_time():
    x = torch.randn(20, TIME) @ SUM.T
    covariance = SUM @ SUM.T + SCALE**2 * torch.eye(TIME)
    truth = dist.MultivariateNormal(torch.zeros(TIME), covariance).log_prob(x)
    found = log_evidence(walk, mean_field, x, num_samples=2000, progress=False)
    assert abs(found.mean - truth.mean()) < 0.05


def test_data_that_are_mixed_are_one_datum():
    """A Gaussian process with whitened values."""
    root = torch.linalg.cholesky(torch.eye(6) + 0.5)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z @ root[: len(x), : len(x)].mT, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.8))

    pair = model, guide, torch.randn(6)
    exact = 0.5 * (torch.eye(6) + root.T @ root).logdet().item()
    bounds = sandwich(*pair, num_samples=100, num_dual_particles=100, progress=False)
    assert bounds.lower_per_datum.shape == (1, 100)
    assert abs(bounds.lower.mean - exact) < 4 * bounds.lower.standard_error + 0.1
    with pytest.raises(ValueError, match=r"of the plate 'data' depend on each other"):
        log_evidence(*pair, num_samples=10, progress=False)


@pytest.mark.parametrize("shift", [1, 2])
def test_a_guide_that_draws_one_cell_by_another(shift):
    """Also by one that is not its neighbour."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 4, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 4, dim=-1):
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x), 4), 1.0))
            pyro.sample("z", dist.Normal(x / 2 + 0.2 * u.roll(shift, -1), 0.5**0.5))

    bounds = sandwich(model, guide, torch.zeros(50, 4), num_samples=2, progress=False)
    assert bounds.lower_per_datum.shape == (1, 50)
    assert math.isfinite(bounds.lower.mean)


def test_rare_bits_that_are_summed():
    """Most of two draws are the same, and say nothing: others are looked at."""

    def bits(x):
        with pyro.plate("time", len(x)):
            pyro.sample("z", dist.Bernoulli(0.2 * torch.sigmoid(x)))

    def model(x):
        with pyro.plate("time", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.1))
            pyro.sample("x", dist.Normal(z.cumsum(-1), 1.0), obs=x)

    for seed in range(20):
        pyro.set_rng_seed(seed)
        with pytest.raises(ValueError, match=r"of the plate 'time' depend on each other"):
            log_evidence(model, bits, torch.zeros(3), num_samples=3, progress=False)
        elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_samples=2)
        terms = elbo.terms(model, bits, torch.zeros(3))
        assert elbo._dual.memories(Call(model, bits, ())).dependent == {"time"}
        assert terms["mi"].isfinite()
