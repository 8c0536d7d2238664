"""Pairs for the tests of `fit_many`, and the training of one seed by itself."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import fit, fit_many
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

X = torch.rand(11, 6, 6, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
COUNTS = torch.poisson(torch.full((9, 3), 3.0), generator=torch.Generator().manual_seed(2))
QUIET = {"log_every": 1, "batch_size": 4, "device": "cpu", "progress": False}


def mivae(channel, mi_weight):
    def make(seed):
        vae = MIVAE(
            code_dim=2,
            noise_dim=1,
            image_shape=(6, 6),
            likelihood="grey",
            encoder=lambda size: MLPEncoder(size, hidden=(7,), image_shape=(6, 6)),
            decoder=lambda size: MLPDecoder(size, hidden=(7,), image_shape=(6, 6)),
        )
        elbo = TraceMI_ELBO(channel=channel, codes="c", mi_weight=mi_weight)
        return vae.model, vae.guide, elbo

    return make


class Regression(PyroModule):
    """A global latent, a plate that subsamples, and a learnt scale."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.raw_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, points):
        slope = pyro.sample("slope", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(points), subsample_size=5) as index:
            part = points[index]
            loc = slope * self.linear(part[:, :2]).squeeze(-1)
            scale = self.raw_scale.exp() + 0.1
            pyro.sample("y", dist.Normal(loc, scale), obs=part[:, 2])


def regression(seed):
    model = Regression()
    return model, AutoNormal(model, init_scale=0.1), Trace_ELBO()


class CountModel(nn.Module):
    """Counts, which the dual pass draws."""

    def __init__(self, normalisation):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 5), normalisation, nn.ReLU(), nn.Linear(5, 3))
        self.offset = torch.rand(3)  # neither a parameter nor a buffer, another one in each copy

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            rate = self.decoder(z).exp() + self.offset
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


class CountGuide(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.3), nn.ReLU(), nn.Linear(5, 4))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            loc, raw = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


def counts(seed):
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=0.5)
    return CountModel(nn.LayerNorm(5)), CountGuide(), elbo


def normalised(seed):
    return CountModel(nn.BatchNorm1d(5)), CountGuide(), Trace_ELBO()


class Line(nn.Module):
    """One parameter, started anew by the seed; fast to record."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(3))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.loc, 1.0).to_event(1), obs=x)


def functions(seed):
    """Functions, whose module Pyro's store has under one name for all copies."""
    linear = nn.Linear(1, 3)

    def model(x):
        pyro.module("linear", linear)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(linear(z), 1.0).to_event(1), obs=x)

    return model, Encoder(), Trace_ELBO()


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.linear(x), 1.0).to_event(1))


class Nothing(nn.Module):
    def forward(self, x):
        pass


def line(seed):
    return Line(), Nothing(), TraceMeanField_ELBO()


class Mixture(Line):
    """A discrete latent, whose draws depend on a parameter of the guide."""

    def forward(self, x):
        with pyro.plate("data", len(x)):
            sign = pyro.sample("sign", dist.Bernoulli(0.5)).unsqueeze(-1)
            pyro.sample("x", dist.Normal(self.loc * sign, 1.0).to_event(1), obs=x)


class Sign(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("sign", dist.Bernoulli(logits=self.logits))


def mixture(seed):
    return Mixture(), Sign(), Trace_ELBO()


def alone(make, data, seed, **settings):
    """History, and the state of model and guide, of one seed trained by itself."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    model, guide, elbo = make(seed)
    history = fit(model, guide, elbo, data, seed=seed, **{**QUIET, **settings})
    return history, state(model, guide)


def many(make, data, seeds=(3, 0, 8), **settings):
    return fit_many(make, data, seeds=seeds, **{**QUIET, **settings})


def state(model, guide):
    parts = [model, guide] if isinstance(model, nn.Module) else [guide]
    return {
        f"{number}.{name}": tensor.detach().clone()
        for number, part in enumerate(parts)
        for name, tensor in part.state_dict().items()
    }


def assert_same(run, history, expected):
    """One copy's rows and state against those of its own training."""
    assert [list(row) for row in run.history.rows] == [list(row) for row in history.rows]
    for row, other in zip(run.history.rows, history.rows, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-4)
            else:
                assert value == other[name]
    torch.testing.assert_close(state(run.model, run.guide), expected, rtol=1e-4, atol=1e-5)
