"""A small InfoGAN for the tests, and its two losses written out by hand."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn
from torch.nn import functional as F

from pyro_mivae.distributions import IntervalUniform, LogitNormal


class Maker(nn.Module):
    """The model: codes c (uniform) and d (of three values, learnable), noise z, x of 3 numbers."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3))
        self.hidden, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", IntervalUniform(-1, 1, torch.zeros(2)).to_event(1))
            d = pyro.sample("d", dist.OneHotCategorical(logits=self.logits))
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = self.out(self.hidden(torch.cat([c, d, z], -1)).tanh())
            pyro.sample("x", dist.Normal(loc, 0.3).to_event(1), obs=x)


class Reader(nn.Module):
    """The guide of c and d, on the discriminator's trunk."""

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(4, 7)

    def forward(self, x):
        raw = self.head(self.trunk(x))
        with pyro.plate("data", len(x)):
            pyro.sample("c", LogitNormal(raw[..., :2], raw[..., 2:4].exp(), -1, 1).to_event(1))
            pyro.sample("d", dist.OneHotCategorical(logits=raw[..., 4:]))


class Game(nn.Module):
    """Model, guide and discriminator, which share a trunk."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.model = Maker()
        self.guide = Reader(self.trunk)
        self.discriminator = nn.Sequential(self.trunk, nn.Linear(4, 1))
        self.x = torch.randn(8, 3)

    @property
    def pair(self):
        return self.model, self.guide, self.x

    def reader_names(self):
        return [n for n, _ in self.named_parameters() if not n.startswith("model.")]

    def drawn(self, seed, channel):
        """Codes and x' of a forward run under a seed."""
        pyro.set_rng_seed(seed)
        trace = poutine.trace(poutine.uncondition(self.model)).get_trace(self.x)
        c, d, z, x = (trace.nodes[site]["value"] for site in ("c", "d", "z", "x"))
        if channel == "straight-through":
            probs = self.model.logits.softmax(-1)
            d = d + probs - probs.detach()
        loc = self.model.out(self.model.hidden(torch.cat([c, d, z], -1)).tanh())
        noise = x.detach() - loc.detach()
        return c, d.detach(), loc if channel == "mean" else loc + noise

    def information(self, c, d, x, code_scale):
        """The shares of c and of d for each datum."""
        raw = self.guide.head(self.trunk(x))
        if code_scale is None:
            logit = torch.log1p(c) - torch.log1p(-c)
            slope = 2 / (1 - c**2)  # d logit / d c
            q_c = dist.Normal(raw[..., :2], raw[..., 2:4].exp()).log_prob(logit) + slope.log()
        else:
            middle = 2 * raw[..., :2].sigmoid() - 1
            q_c = -0.5 * ((c - middle) / code_scale) ** 2
            q_c = q_c - 0.5 * math.log(2 * math.pi) - math.log(code_scale)
        log_p = self.model.logits.log_softmax(-1)
        return (q_c + math.log(2)).sum(-1), (d * (raw[..., 4:].log_softmax(-1) - log_p)).sum(-1)

    def losses(self, seed, channel, adversary, weights, code_scale):
        """The losses of reader and model, with all gradients that they have."""
        c, d, x = self.drawn(seed, channel)
        real = self.discriminator(self.x)[:, 0]
        on_real = {
            "non-saturating": F.softplus(-real),
            "hinge": F.relu(1 - real),
            "wasserstein": -real,
        }[adversary]

        def information(x):
            shares = self.information(c, d, x, code_scale)
            return sum(w * s.mean() for w, s in zip(weights, shares, strict=True))

        still = x.detach()
        other = self.discriminator(still)[:, 0]
        on_other = {
            "non-saturating": F.softplus(other),
            "hinge": F.relu(1 + other),
            "wasserstein": other,
        }[adversary]
        reader = on_real.mean() + on_other.mean() - information(still)
        logits = self.discriminator(x)[:, 0]
        made = F.softplus(-logits) if adversary == "non-saturating" else -logits
        model = made.mean() - information(x)
        if channel == "straight-through":
            return reader, model
        # d has no pathwise gradient: its score function times what it moves.
        told = sum(
            w * s for w, s in zip(weights, self.information(c, d, x, code_scale), strict=True)
        )
        moved = made - _others(made) - told + (_others(told) if channel == "sample" else 0)
        score = (d * self.model.logits.log_softmax(-1)).sum(-1)
        surrogate = (score * moved.detach()).mean()
        return reader, model + surrogate - surrogate.detach()


def _others(values):
    """The mean of the other data, a baseline."""
    return (values.sum() - values) / (len(values) - 1)


def gradients(loss, module):
    """Gradients by name; None where there is none."""
    named = dict(module.named_parameters())
    values = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return dict(zip(named, values, strict=True))


def backward(loss, module):
    """Gradients that a backward pass leaves, by name."""
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in module.named_parameters()}
