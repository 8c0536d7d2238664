"""Measurements against closed forms: x_d = w_d z_d + noise in every dimension."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import WEIGHTS, by_dimension_guide
from oracles import by_dimension as model
from pyro import poutine
from pyro.infer import TraceGraph_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import kl_per_dimension, mi_per_dimension

X = torch.randn(600, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.usefixtures("float64")


exact = by_dimension_guide()
wide = by_dimension_guide(1.5)  # right in the mean


def joint(x):
    precision = 1 + WEIGHTS**2
    with pyro.plate("data", len(x)):
        scale_tril = torch.diag(precision**-0.5)
        loc = WEIGHTS * x / precision
        pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=scale_tril))


INFORMATION = 0.5 * torch.log(1 + WEIGHTS**2)


def test_mi_of_every_dimension_is_its_information_under_the_exact_posterior():
    data = X.repeat(20, 1)
    bounds = mi_per_dimension(model, exact, data, channel="sample", batch_size=5000)["z"]
    # The variance of log q - log p is at most 1 nat^2 here.
    assert (bounds - INFORMATION).abs().max() < 5 / math.sqrt(len(data))
    assert bounds[0].abs() < 1e-12
    worse = mi_per_dimension(model, wide, data, channel="sample")["z"]
    loss = math.log(1.5) + 0.5 / 1.5**2 - 0.5
    assert (worse - (INFORMATION - loss)).abs().max() < 5 / math.sqrt(len(data))


def test_the_mean_channel_is_a_score_above_the_information():
    score = mi_per_dimension(model, exact, X, channel="mean")["z"]
    assert score[2] > INFORMATION[2] + 0.3


def test_kl_of_every_dimension():
    precision = 1 + WEIGHTS**2
    kl = 0.5 * ((WEIGHTS * X / precision) ** 2 + 1 / precision - 1 + precision.log())
    measured = kl_per_dimension(model, exact, X, batch_size=64)["z"]
    torch.testing.assert_close(measured, kl.mean(0))


def test_kl_without_closed_form_is_sampled():
    def skewed(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(3), 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(4 * torch.ones(3), 3.0).to_event(1))

    data = X.repeat(10, 1)
    measured = kl_per_dimension(skewed, guide, data)["z"]
    q, p = dist.Gamma(4.0, 3.0), dist.LogNormal(0.0, 0.5)
    draws = q.sample((200_000,))
    log_ratio = q.log_prob(draws) - p.log_prob(draws)
    error = log_ratio.std() / math.sqrt(len(data))
    assert (measured - log_ratio.mean()).abs().max() < 5 * error


def test_multivariate_normal_guides_have_marginals():
    """The joint guide is the exact one here; turned by a rotation its marginals stay normal."""
    joint_bounds = mi_per_dimension(model, joint, X, channel="sample")["z"]
    exact_bounds = mi_per_dimension(model, exact, X, channel="sample")["z"]
    torch.testing.assert_close(joint_bounds, exact_bounds)
    found, wanted = (kl_per_dimension(model, guide, X)["z"] for guide in (joint, exact))
    torch.testing.assert_close(found, wanted)

    def turned(x):
        with pyro.plate("data", len(x)):
            scale_tril = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 0.5]])
            pyro.sample("z", dist.MultivariateNormal(0.1 * x, scale_tril=scale_tril))

    expected = (0.1 * X).square().mean(0) + torch.tensor([1.0, 1.0, 0.25]) - 1
    expected = (expected - torch.tensor([0.0, 0.0, 2 * math.log(0.5)])) / 2
    torch.testing.assert_close(kl_per_dimension(model, turned, X)["z"], expected)


def test_scalar_sites_have_one_dimension():
    def scalar(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    bound = mi_per_dimension(scalar, guide, torch.zeros(20_000), channel="sample")["z"]
    assert bound.shape == ()
    assert abs(bound - 0.5 * math.log(2)) < 5 / math.sqrt(20_000)


def test_measuring_changes_nothing():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    settings = {"channel": "sample", "seed": 5}
    one = mi_per_dimension(model, wide, X[:10], **settings)["z"]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, mi_per_dimension(model, wide, X[:10], **settings)["z"])


@pytest.mark.slow
def test_modules_are_measured_in_evaluation_mode():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            assert not self.dropout.training
            exact(x)

    guide = Noisy()
    kl_per_dimension(model, guide, X)
    assert guide.dropout.training


def test_unknown_marginals_are_refused():
    def flow(x):
        turn = dist.transforms.Householder(3)
        with pyro.plate("data", len(x)):
            base = dist.Normal(x, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [turn]))

    message = "dimensions of site 'z' have marginals that are not known"
    with pytest.raises(ValueError, match=message):
        kl_per_dimension(model, flow, X)
    with pytest.raises(ValueError, match=message):
        mi_per_dimension(model, flow, X, channel="sample")


def test_masks_count_as_in_the_elbo():
    """Steps beyond a series' length: their latents are in no ELBO, and tell nothing."""
    length, x = torch.randint(1, 5, (300,)), torch.randn(300, 4)
    mask = torch.arange(4) < length[:, None]
    bits = torch.tensor([0.3, 0.7])

    def series(x):
        return pyro.plate_stack("steps", x.shape)

    def model(x, mask):
        with series(x), poutine.mask(mask=mask):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            k = pyro.sample("k", dist.OneHotCategorical(bits).mask(mask))
            pyro.sample("x", dist.Normal(z.sum(-1) + k[..., 0], 1.0), obs=x)

    def guide(x, mask):
        with series(x), poutine.mask(mask=mask):
            pyro.sample("z", dist.Normal(0.3 * x[..., None].expand(300, 4, 2), 0.8).to_event(1))
            logits = torch.stack([x, -x], -1)
            pyro.sample("k", dist.OneHotCategorical(logits=logits).mask(mask))

    kl = kl_per_dimension(model, guide, (x, mask), batch_size=300)
    each = 0.5 * ((0.3 * x) ** 2 + 0.8**2 - 1) - math.log(0.8)
    torch.testing.assert_close(kl["z"], (each * mask).sum(1).mean().expand(2))
    log_q = torch.stack([x, -x], -1).log_softmax(-1)
    each = (log_q.exp() * (log_q - bits.log())).sum(-1)
    torch.testing.assert_close(kl["k"], (each * mask).sum(1).mean())
    elbo = TraceMI_ELBO(channel="sample", elbo=TraceGraph_ELBO())
    pyro.set_rng_seed(0)
    with torch.no_grad():
        draws = [elbo.terms(model, guide, x, mask) for _ in range(60)]
    bound = mi_per_dimension(model, guide, (x, mask), channel="sample")
    for site in ("z", "k"):
        terms = torch.stack([terms[f"mi/{site}"] for terms in draws]) / 300
        # One draw in place of 60: its error is that of a single one of these.
        assert abs(bound[site].sum() - terms.mean()) < 5 * terms.std()
