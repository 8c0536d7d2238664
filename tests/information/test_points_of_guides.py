"""Guides that make points of auxiliary draws, as Pyro's autoguides and flows without inverse."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal

from pyro_mivae.information import kl_per_dimension, log_evidence, sandwich

pytestmark = pytest.mark.usefixtures("float64")


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.LogNormal(0.0, 0.5))
        pyro.sample("x", dist.Gamma(2.0, z), obs=x)


def flow(x):
    """A lognormal by hand."""
    with pyro.plate("data", len(x)):
        noise = pyro.sample("noise", dist.Normal(0.0, 0.6), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(noise.exp(), log_density=-noise))


def truth(x):
    """By quadrature over log z."""
    u = torch.linspace(-5, 5, 4001)
    log_p = dist.Normal(0.0, 0.5).log_prob(u) + dist.Gamma(2.0, u.exp()).log_prob(x[:, None])
    return log_p.logsumexp(-1) + math.log(10 / 4000)


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_density_of_what_makes_a_point_counts(by_hand):
    x = torch.tensor([0.5, 1.0, 2.0, 4.0])
    guide = flow if by_hand else AutoNormal(model, init_scale=0.6)
    found = log_evidence(model, guide, x, num_samples=4000, progress=False)
    assert (found.per_datum - truth(x)).abs().max() < 0.1


def test_points_without_a_density_are_refused():
    x = torch.tensor([0.5, 1.0])
    with pytest.raises(ValueError, match=r"sites \['z'\] are points \(Delta\), as AutoDelta"):
        log_evidence(model, AutoDelta(model), x, num_samples=10, progress=False)
    with pytest.raises(ValueError, match=r"\['z'\] are points .* expected densities, whose KL"):
        kl_per_dimension(model, AutoNormal(model), x)


def test_noise_that_is_a_point_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.LogNormal(0.0, 0.5))
            pyro.sample("x", dist.Normal(c, z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(0.5 * x, 1.0))
            noise = pyro.sample("noise", dist.Normal(0.0, 0.6), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(noise.exp(), log_density=-noise))

    with pytest.raises(ValueError, match=r"\['z'\] are points .* at the model's draws"):
        sandwich(model, guide, torch.zeros(5), codes="c", num_samples=5, progress=False)
