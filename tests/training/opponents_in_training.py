"""A small GAN with codes, noise, batch normalisation and a shared trunk, for the tests of `fit`."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.training import fit

X = torch.linspace(-2.0, 3.0, 24)[:, None] * torch.tensor([1.0, -0.5])


class Maker(nn.Module):
    """The model: a class d, a code c, noise z; x of two numbers."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.out = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
        self.register_buffer("logits", torch.zeros(2))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            d = pyro.sample("d", dist.OneHotCategorical(logits=self.logits))
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = self.out(self.norm(self.hidden(torch.cat([c, d, z], -1))).tanh())
            pyro.sample("x", dist.Normal(loc, 0.3).to_event(1), obs=x)


class Reader(nn.Module):
    """The guide of c and d, on the discriminator's trunk."""

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(8, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        loc, raw, *logits = self.head(self.trunk(x)).split([1, 1, 2], -1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))
            pyro.sample("d", dist.OneHotCategorical(logits=logits[0]))


class Critic(nn.Module):
    """The discriminator, with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.1))
        self.last = nn.Linear(8, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.last(self.trunk(x))


class Players:
    """Model, guide and discriminator of a seed, and the objective."""

    def __init__(self, seed=0, **options):
        torch.manual_seed(seed)
        self.model, self.discriminator = Maker(), Critic()
        self.guide = Reader(self.discriminator.trunk)
        options = {"codes": ("c", "d"), "mi_weight": {"c": 0.1, "d": 1.0}, **options}
        self.gan = TraceMI_GAN(self.discriminator, **options)

    def train(self, data=X, **settings):
        settings = {"steps": 6, "batch_size": 10, "log_every": 4, **settings}
        settings = {"device": "cpu", "progress": False, **settings}
        return fit(self.model, self.guide, self.gan, data, **settings)

    def state(self):
        """All parameters and buffers, copied."""
        modules = {"model": self.model, "guide": self.guide, "discriminator": self.discriminator}
        return {
            f"{name}.{key}": value.clone()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
