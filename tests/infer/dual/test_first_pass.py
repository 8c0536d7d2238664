"""The first dual pass of a pair looks how the guide reads x'; its numbers are those of others."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.poutine.messenger import Messenger
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO

X = torch.tensor([[0.3], [-1.0], [2.0]])
CHANNELS = ["mean", "straight-through", "sample"]


class Double(torch.autograd.Function):
    """An extension's function: marks on its input do not go through it."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class Pair(nn.Module):
    """A guide that reads x through a function of its own, or through torch's product."""

    def __init__(self, double):
        super().__init__()
        self.double = double
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.slope = nn.Parameter(torch.tensor(0.4))
        self.norm = nn.BatchNorm1d(1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.scale * z, 0.5).to_event(1), obs=x)

    def guide(self, x):
        features = self.norm(x)
        with pyro.plate("data", len(x)):
            loc = self.slope * self.double(self.double(x) + features)
            pyro.sample("z", dist.Normal(loc, 0.6).to_event(1))


class Names(Messenger):
    """A handler that notes every site that reaches it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def _pyro_post_sample(self, msg):
        self.names.append(msg["name"])


def gradients(pair, elbo, *, seed=1):
    pair.zero_grad()
    torch.manual_seed(seed)
    loss = elbo.differentiable_loss(pair.model, pair.guide, X)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in pair.parameters() if p.grad is not None)]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.filterwarnings("ignore:batch normalisation in training mode")
def test_an_autograd_function_keeps_its_gradient(channel):
    pair = Pair(Double.apply).eval()
    elbo = TraceMI_ELBO(channel=channel, codes="z")
    first, second = gradients(pair, elbo), gradients(pair, elbo)
    plain = Pair(lambda x: 2 * x).eval()
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, gradients(plain, TraceMI_ELBO(channel=channel, codes="z")))


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_look_takes_no_draw_and_leaves_no_trace(channel):
    """As one call more would: in the random state, in buffers, and for handlers outside."""
    states, names = [], []
    for repetition in range(2):
        pair = Pair(Double.apply)
        elbo = TraceMI_ELBO(channel=channel, codes="z", baseline=False)
        if repetition:
            gradients(pair, elbo)
            pair.norm.reset_running_stats()
        with Names() as outside:
            gradients(pair, elbo)
        names.append(outside.names)
        states.append((torch.get_rng_state(), pair.norm.running_mean.clone()))
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert names[0] == names[1]
