"""InfoGAN's form of the information: codes scored by normals of a standard deviation."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae.distributions import (
    CorrelatedNormal,
    CorrelatedSquashedNormal,
    IntervalBeta,
    IntervalUniform,
    LogitNormal,
    ProbitNormal,
    RotatedPairs,
)
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.dual.fixed_scale import code_log_prob

pytestmark = pytest.mark.usefixtures("float64")

N = 5000
X = torch.zeros(N, 2, dtype=torch.float64)
TOP = math.log(2) - 0.5 * math.log(2 * math.pi)  # of a code on (-1, 1) that is told exactly


def model(x):
    """x is the code itself, with next to no noise."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", IntervalUniform(-1, 1, torch.zeros(2)).to_event(1))
        pyro.sample("x", dist.Normal(c, 1e-9).to_event(1), obs=x)


def reads(x):
    with pyro.plate("data", len(x)):
        middle = torch.log1p(x.clamp(-1 + 1e-12, 1 - 1e-12)) - torch.log1p(-x)
        pyro.sample("c", LogitNormal(middle, 0.7 + 0 * x, -1, 1).to_event(1))


def ignores(x):
    with pyro.plate("data", len(x)):
        pyro.sample("c", LogitNormal(0 * x, 1 + 0 * x, -1, 1).to_event(1))


def bound(guide, scale=1.0, channel="sample"):
    elbo = TraceMI_ELBO(channel=channel, codes="c", code_scale=scale)
    return float(elbo.terms(model, guide, X)["mi"]) / (2 * N)


def test_a_code_that_is_read_exactly_has_the_top():
    """As a pointwise bound at most -.226 nats, per uniform code."""
    assert pytest.approx(-0.2258, abs=1e-4) == TOP
    for channel in ("mean", "sample", "straight-through", "sleep"):
        assert bound(reads, channel=channel) == pytest.approx(TOP, abs=1e-9)


def test_a_code_that_is_ignored_has_a_sixth_less():
    """E c^2 / 2 = 1/6 for a uniform c on (-1, 1)."""
    found = bound(ignores)
    error = math.sqrt((1 / 5 - 1 / 9) / 4 / (2 * N))
    assert abs(TOP - found - 1 / 6) < 5 * error


def test_it_is_minus_half_a_squared_error():
    seen = []

    def shifted(x):
        seen.append(x)
        reads(0.7 * x)

    found = TraceMI_ELBO(channel="mean", code_scale=1.0).terms(model, shifted, X)["mi"]
    code = seen[-1]  # x' under this channel
    torch.testing.assert_close(found, (TOP - 0.5 * (0.3 * code) ** 2).sum())


def test_scale_moves_the_top():
    for scale in (0.1, 3.0):
        assert bound(reads, scale) == pytest.approx(TOP - math.log(scale), abs=1e-9)


def test_the_elbo_itself_is_the_guides():
    terms = []
    for scale in (None, 1.0):
        pyro.set_rng_seed(0)
        elbo = TraceMI_ELBO(channel="mean", codes="c", code_scale=scale)
        terms.append(elbo.terms(model, reads, X[:10]))
    for name in ("log_likelihood", "kl"):
        assert torch.equal(terms[0][name], terms[1][name])
    assert terms[0]["mi"] != terms[1]["mi"]


def site(fn, value, **kwargs):
    made = {"fn": fn, "value": value, "name": "c", "args": (), "kwargs": {}, "scale": 1.0}
    return {**made, "mask": None, **kwargs}


def families():
    loc, value = torch.randn(5, 4), torch.rand(5, 4) * 0.4
    normal = CorrelatedNormal(loc, torch.eye(4).expand(5, 4, 4) + torch.ones(4, 4).tril(-1))
    logit = LogitNormal(loc, torch.ones(5, 4), -1, 1).to_event(1)
    full = CorrelatedSquashedNormal(normal, LogitNormal, -1, 1)
    a, b = torch.rand(5, 4) + 1, torch.rand(5, 4) + 1
    sigmoid, probit = 2 * loc.sigmoid() - 1, 2 * torch.special.ndtr(loc / math.sqrt(2)) - 1
    turned = torch.stack(
        [sigmoid[:, ::2] - sigmoid[:, 1::2], sigmoid[:, ::2] + sigmoid[:, 1::2]], -1
    )
    yield "normal", dist.Normal(loc, 0.2).to_event(1), loc, value
    yield "laplace", dist.Laplace(loc, 0.2).to_event(1), loc, value
    yield "correlated", normal, loc, value
    yield "logit-normal", logit, sigmoid, value
    yield "correlated logit-normal", full, sigmoid, value
    yield "probit", ProbitNormal(loc, torch.ones(5, 4), -1, 1).to_event(1), probit, value
    yield "beta", IntervalBeta(a, b, -1, 1).to_event(1), 2 * a / (a + b) - 1, value
    yield "turned", RotatedPairs(logit, -1, 1), turned.flatten(-2) / math.sqrt(2), value


@pytest.mark.parametrize("number", range(8))
def test_every_family_is_scored_around_its_middle(number):
    name, fn, middle, value = list(families())[number]
    expected = dist.Normal(middle, 0.5).log_prob(value)
    found = code_log_prob(site(fn, value), None, 0.5)
    torch.testing.assert_close(found, expected.sum(-1), msg=name)
    torch.testing.assert_close(
        code_log_prob(site(fn.expand((3, 5)), value.expand(3, 5, 4)), None, 0.5)[1],
        expected.sum(-1),
    )
    if "correlated" not in name and name != "turned":
        half = code_log_prob(site(fn, value), slice(2, None), 0.5)
        torch.testing.assert_close(half, expected[:, 2:].sum(-1))
    mask = torch.tensor([True, False, True, True, False])
    masked = code_log_prob(site(fn.mask(mask), value, scale=3.0), None, 0.5)
    torch.testing.assert_close(masked, 3 * expected.sum(-1) * mask)
    # The guide's own draw is still known to its map.
    if hasattr(fn, "has_rsample") and name in ("logit-normal", "correlated logit-normal"):
        wide = fn.rsample()
        exact = fn.log_prob(wide)
        code_log_prob(site(fn, wide), None, 0.5)
        assert torch.equal(fn.log_prob(wide), exact)


def test_discrete_codes_are_scored_as_ever():
    logits = torch.randn(5, 3)
    for fn in (dist.OneHotCategorical(logits=logits), dist.Categorical(logits=logits)):
        value = fn.sample()
        found = code_log_prob(site(fn, value), None, 1.0)
        assert torch.equal(found, fn.log_prob(value))


def test_gradients_move_the_mean_and_leave_the_width():
    loc, spread = (nn.Parameter(torch.tensor(v)) for v in (0.2, 0.3))

    def guide(x):
        with pyro.plate("data", len(x)):
            fn = LogitNormal(loc.expand(len(x), 2) + x, spread.exp().expand(len(x), 2), -1, 1)
            pyro.sample("c", fn.to_event(1))

    def noisy(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", IntervalUniform(-1, 1, torch.zeros(2)).to_event(1))
            pyro.sample("x", dist.Normal(c, 0.5).to_event(1), obs=x)

    elbo = TraceMI_ELBO(channel="straight-through", codes="c", code_scale=1.0)
    loss = elbo.terms(noisy, guide, X[:50])
    elbo_only = TraceMI_ELBO(channel="straight-through", mi_weight=0)
    gradients = []
    for weighted in (elbo, elbo_only):
        loc.grad = spread.grad = None
        pyro.set_rng_seed(0)
        weighted.differentiable_loss(noisy, guide, X[:50]).backward()
        gradients.append((loc.grad.item(), spread.grad.item()))
    assert loss["mi"] < 0
    assert gradients[0][0] != gradients[1][0]
    assert gradients[0][1] == pytest.approx(gradients[1][1], rel=1e-12)


@pytest.mark.parametrize("bad", [0, -1.0, math.inf, math.nan, "1", True])
def test_a_scale_is_a_positive_number(bad):
    with pytest.raises(ValueError, match="code_scale must be a positive number, or None, found"):
        TraceMI_ELBO(channel="sample", code_scale=bad)


def test_what_it_does_not_go_with():
    with pytest.raises(ValueError, match="code_scale scores the code by another density"):
        TraceMI_ELBO(channel="sample", code_scale=1.0, num_dual_samples=2)

    class Heavy(dist.Cauchy):
        has_rsample = True

    def heavy(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", Heavy(x, 1.0).to_event(1))

    def wide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(c, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="guide's mean, which the Heavy of site 'c' has not"):
        TraceMI_ELBO(channel="sample", code_scale=1.0).loss(wide, heavy, X[:10])
