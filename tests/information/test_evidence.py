"""Log-evidence against closed forms, and the diagnostics of its weights."""

import logging
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import WEIGHTS, LinearGaussian
from oracles import by_dimension as model
from oracles import by_dimension_guide as guide_of

from pyro_mivae.information import log_evidence

pytestmark = pytest.mark.usefixtures("float64")

X = torch.randn(600, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def exact_log_evidence(x):
    return dist.Normal(torch.zeros(3), (1 + WEIGHTS**2).sqrt()).to_event(1).log_prob(x)


def test_exact_with_the_exact_posterior():
    estimate = log_evidence(model, guide_of(1.0), X, num_samples=40, batch_size=250)
    truth = exact_log_evidence(X)
    torch.testing.assert_close(estimate.per_datum, truth)
    assert estimate.mean == pytest.approx(truth.mean().item())
    assert estimate.standard_error == pytest.approx(truth.std().item() / math.sqrt(600))
    # All weights are equal: there is no tail, and every draw counts.
    assert not estimate.unreliable.any()
    torch.testing.assert_close(estimate.effective_samples, torch.full((600,), 40.0))


def test_rises_to_the_truth_with_more_samples():
    few, many = (log_evidence(model, guide_of(1.5), X, num_samples=k).per_datum for k in (1, 200))
    truth = exact_log_evidence(X)
    assert (few - truth).mean() < -0.1
    # The bias is about -var(w) / 2K.
    assert (many - truth).mean().abs() < 0.02


def test_correlated_posterior():
    oracle = LinearGaussian(exact=False)
    x = torch.randn(200, 3)
    estimate = log_evidence(oracle.model, oracle.guide, x, num_samples=3000)
    covariance = oracle.W @ torch.diag((2 * oracle.log_t).exp()) @ oracle.W.T
    covariance = covariance + (2 * oracle.log_s).exp() * torch.eye(3)
    mean = oracle.W @ oracle.m + oracle.b
    truth = dist.MultivariateNormal(mean, covariance).log_prob(x).detach()
    assert (estimate.per_datum - truth).abs().mean() < 0.05
    reliable = ~estimate.unreliable
    assert reliable.float().mean() > 0.8
    assert (estimate.per_datum - truth)[reliable].abs().max() < 0.2


def test_effective_samples():
    """Two draws of a bit decide everything: (sum w)^2 / sum w^2 in a case that is known."""

    def bit(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * c), obs=x)

    def guess(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(len(x))))

    estimate = log_evidence(bit, guess, torch.ones(50), num_samples=2000)
    # p(x) = .5, weights .9 and .1 with equal chance: K E[w]^2 / E[w^2] = K .25 / .41.
    assert (estimate.per_datum - math.log(0.5)).abs().max() < 5 * 0.8 / math.sqrt(2000)
    assert (estimate.effective_samples / 2000 - 0.25 / 0.41).abs().max() < 0.05


def test_a_guide_that_is_too_narrow_is_flagged(caplog):
    good = log_evidence(model, guide_of(1.2), X[:100], num_samples=500)
    assert good.threshold == pytest.approx(1 - 1 / math.log10(500))
    assert not good.unreliable.any()
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        bad = log_evidence(model, guide_of(0.3, shift=1.0), X[:100], num_samples=500)
    assert bad.unreliable.float().mean() > 0.8
    assert bad.effective_samples.median() < 20
    assert f"{int(bad.unreliable.sum())} of 100 data is unreliable" in caplog.text
    # And rightly so: it is far below.
    assert (bad.per_datum - exact_log_evidence(X[:100])).mean() < -0.3


def test_too_few_samples_for_a_diagnosis_are_flagged():
    estimate = log_evidence(model, guide_of(1.5), X[:10], num_samples=3)
    assert estimate.unreliable.all()
    assert (estimate.pareto_k == torch.inf).all()


def test_weights_of_discrete_latents_have_no_tail(caplog):
    """They are few numbers, each of many draws, so that no Pareto distribution fits them."""
    prior, ones = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.6, 0.8])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(prior))
            pyro.sample("x", dist.Bernoulli(ones[k]), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.3, 0.4])))

    estimate = log_evidence(model, guide, torch.tensor([0.0, 1.0]), num_samples=4000)
    one = (prior * ones).sum()
    exact = torch.stack([1 - one, one]).log()
    assert (estimate.per_datum - exact).abs().max() < 0.1
    assert not estimate.unreliable.any()
    assert not caplog.records


def test_impossible_data_have_no_evidence():
    def coin(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Uniform(z, z + 1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(torch.zeros(len(x)), 1.0))

    estimate = log_evidence(coin, guide, torch.tensor([0.5, 5.0]), num_samples=400)
    assert abs(estimate.per_datum[0] - math.log(0.5)) < 0.3
    assert estimate.per_datum[1] == -math.inf
    assert estimate.unreliable[1]


def test_plates_inside_of_a_datum():
    """Local latents in an inner plate: the evidence of a datum is the sum of its parts'."""

    def nested(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(WEIGHTS * z, 1.0), obs=x)

    def guide(x):
        precision = 1 + WEIGHTS**2
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 3, dim=-1):
            pyro.sample("z", dist.Normal(WEIGHTS * x / precision, precision**-0.5))

    estimate = log_evidence(nested, guide, X, num_samples=30)
    torch.testing.assert_close(estimate.per_datum, exact_log_evidence(X))
    assert estimate.pareto_k.shape == estimate.effective_samples.shape == (600,)


def test_measuring_changes_nothing():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (log_evidence(model, guide_of(1.5), X[:10], num_samples=3, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.per_datum, two.per_datum)


def test_errors():
    with pytest.raises(ValueError, match="num_samples must be at least 1, found 0"):
        log_evidence(model, guide_of(1.0), X, num_samples=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        log_evidence(model, guide_of(1.0), X, num_samples=1, batch_size=0)

    def unplated(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0).expand([3]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    with pytest.raises(ValueError, match="site 'z' is in no vectorised plate of the 600 data"):
        log_evidence(unplated, guide, X, batch_size=1000)

    def other_plate(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    with pytest.raises(ValueError, match="share no vectorised plate of the 600 data"):
        log_evidence(model, other_plate, X, batch_size=1000)
