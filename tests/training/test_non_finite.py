"""NaN in data and parameters: one error that names site, term and step, under every channel."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae.batches import permutation
from pyro_mivae.infer import CHANNELS, TraceMI_ELBO
from pyro_mivae.training import NonFiniteError, fit, has_checkpoint

LIKELIHOODS = {
    "Bernoulli": lambda loc: dist.Bernoulli(logits=loc),
    "Poisson": lambda loc: dist.Poisson(loc.exp()),
    "Normal": lambda loc: dist.Normal(loc, 1.0),
    "Gamma": lambda loc: dist.Gamma(loc.exp(), 1.0),
}


class Model(nn.Module):
    def __init__(self, likelihood):
        super().__init__()
        self.dec, self.likelihood = nn.Linear(3, 4), likelihood

    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = self.likelihood(self.dec(torch.cat([z, y], -1)))
            pyro.sample("x", fn.to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(5, 4)

    def forward(self, x, y):
        loc, log_scale = self.enc(torch.cat([x, y], -1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("batch", [0, 1], ids=["validated step", "later step"])
def test_a_covariate_that_is_nan(name, channel, batch):
    torch.manual_seed(0)
    x, y = torch.bernoulli(torch.rand(100, 4)) + (name == "Gamma"), torch.randn(100, 1)
    y[permutation(100, 0, 0)[50 * batch + 10]] = float("nan")
    elbo = TraceMI_ELBO(channel=channel)
    settings = {"steps": 10, "batch_size": 50, "device": "cpu", "progress": False}
    with pytest.raises(NonFiniteError, match=rf"step {batch + 1}\b"):
        fit(Model(LIKELIHOODS[name]), Guide(), elbo, (x, y), **settings)


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    """The loss of the last step is finite and its gradient is not: no later loss can say so."""

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0 + self.scale.abs().sqrt()), obs=x)

    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.gain * x, 0.7))

    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.0)
    settings = {"steps": 1, "device": "cpu", "progress": False, "folder": tmp_path}
    with pytest.raises(
        NonFiniteError, match=r"parameter 'model\.scale' is not finite after step 1"
    ):
        fit(Root(), Reading(), elbo, torch.randn(20), **settings)
    assert not has_checkpoint(tmp_path)
