"""`refit_guide` of pairs that `TraceMI_ELBO` needs options for."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae.training import refit_guide

pytestmark = pytest.mark.usefixtures("float64")


def settings(rate=0.1):
    optimizer = lambda parameters: torch.optim.Adam(parameters, lr=rate)  # noqa: E731
    return {"optimizer": optimizer, "batch_size": None, "device": "cpu", "progress": False}


class Reader(nn.Module):
    """The logits of a bit, linear in x as those of the exact posterior are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Bernoulli(logits=self.linear(x[:, None])[:, 0]))


def test_a_guide_that_draws_discrete_latents():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * k, 1.0), obs=x)

    guide, x = Reader(), torch.zeros(2000)
    refitted = refit_guide(model, guide, x, steps=200, **settings())
    x = torch.tensor([0.0, 1.0, 2.0])
    logits = pyro.poutine.trace(refitted).get_trace(x).nodes["k"]["fn"].logits.detach()
    exact = 2 * x - 2 + torch.tensor(0.3).logit()
    assert (logits - exact).abs().max() < 0.2
    assert not torch.equal(refitted.linear.weight, guide.linear.weight)


def test_a_guide_that_reads_what_data_args_make_and_a_covariate():
    """The guide is given x and y side by side: z = x - y + e, where y keeps its data, 3."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.tensor(0.0))

        def forward(self, x, y):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal((x[:, 0] + self.mean) / 2, 0.5**0.5))

    def both(generated, args, kwargs):
        return (generated["x"][:, None], args[1]), kwargs

    x, y = torch.full((2000, 1), 3.0), torch.full((2000,), 3.0)
    made = {"prepare": lambda x, y: (x, y), "observed": "y", "data_args": both}
    model_of_columns = lambda x, y: model(x[:, 0], y)  # noqa: E731
    refitted = refit_guide(model_of_columns, Guide(), (x, y), steps=200, **made, **settings())
    assert float(refitted.mean.detach()) == pytest.approx(-3.0, abs=0.2)
