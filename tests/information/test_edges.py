"""Draws at an edge of their support, and flows that a guide keeps, in the measurements."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms

from pyro_mivae.information import (
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    sandwich,
)
from pyro_mivae.information.densities import Density

X = torch.linspace(-1, 2, 300)


def relaxed_pair(temperature, dtype, straight_through=False):
    bits = dist.RelaxedBernoulliStraightThrough if straight_through else dist.RelaxedBernoulli
    temperature, half = torch.tensor(temperature, dtype=dtype), torch.tensor(0.5, dtype=dtype)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", bits(temperature, probs=half))
            pyro.sample("x", dist.Normal(2 * z, half), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", bits(temperature, logits=4 * (x - 1)))

    return model, guide


@pytest.mark.parametrize("straight_through", [False, True], ids=["soft", "hard"])
def test_many_draws_at_an_edge_are_refused(straight_through):
    model, guide = relaxed_pair(0.1, torch.float32, straight_through)
    message = (
        r"\d+ of \d+ numbers drawn at site 'z' lie at an edge of its support in float32, .*Logistic"
    )
    for measure in (sandwich, log_evidence):
        with pytest.raises(ValueError, match=message):
            measure(model, guide, X, num_samples=50, progress=False)


def test_few_draws_at_an_edge_are_noted(caplog):
    caplog.set_level(logging.WARNING)
    model, guide = relaxed_pair(0.8, torch.float32)
    bounds = sandwich(model, guide, X, num_samples=100, progress=False)
    assert "numbers drawn at site 'z' lie at an edge of its support in float32" in bounds.note
    assert bounds.note in str(bounds)
    evidence = log_evidence(model, guide, X, num_samples=200, progress=False)
    assert "at an edge" in evidence.note
    assert sum("lie at an edge" in record.message for record in caplog.records) >= 2


def test_no_draws_at_an_edge_in_double_precision():
    model, guide = relaxed_pair(1.0, torch.float64)
    bounds = sandwich(model, guide, X.double(), num_samples=200, progress=False)
    assert bounds.draws_note is None
    assert bounds.lower.mean < bounds.upper.mean
    assert log_evidence(model, guide, X.double(), num_samples=50, progress=False).note is None


def test_the_remedy_has_no_edge():
    """The logit as the site, and the sigmoid in the model: single precision will do."""

    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Logistic(torch.tensor(0.0), 10.0))
            pyro.sample("x", dist.Normal(2 * y.sigmoid(), 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Logistic(40 * (x - 1), 10.0))

    bounds = sandwich(model, guide, X, num_samples=300, progress=False)
    assert bounds.draws_note is None
    assert bounds.lower.mean - 4 * bounds.lower.standard_error < 0.6 < bounds.upper.mean + 0.2


# Flows that a guide keeps.

DATA = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KEPT = {
    "affine_coupling": lambda: transforms.affine_coupling(2, hidden_dims=[8]),
    "spline_coupling": lambda: transforms.spline_coupling(2, hidden_dims=[8]),
    "affine_autoregressive": lambda: transforms.affine_autoregressive(2, hidden_dims=[8]),
    "LowerCholeskyAffine": lambda: transforms.LowerCholeskyAffine(torch.ones(2), 2 * torch.eye(2)),
    "an inverse": lambda: transforms.LowerCholeskyAffine(torch.ones(2), 2 * torch.eye(2)).inv,
    "composed": lambda: transforms.ComposeTransform(
        [transforms.TanhTransform(cache_size=1), transforms.AffineTransform(0.0, 2.0)]
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", KEPT)
def test_kept_transforms_have_the_densities_of_their_distributions(case):
    flow = KEPT[case]()

    def posterior(x):
        return dist.TransformedDistribution(dist.Normal(0.3 * x, 0.3).to_event(1), [flow])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    with torch.no_grad():
        value = posterior(DATA).sample()
        plain = posterior(DATA[None]).log_prob(value[:, None])  # every draw under every datum
        density = Density("z", posterior(DATA), -2)
        joint, _ = density(value[:, None])
        torch.testing.assert_close(joint, plain)
        torch.manual_seed(0)
        result = aggregate_information(guide, DATA, num_samples=20, progress=False)
        draws = posterior(DATA).sample((200,))
        own = posterior(DATA).log_prob(draws)
        mixture = posterior(DATA[:, None, None]).log_prob(draws[None]).logsumexp(0)
        terms = own - mixture + torch.tensor(float(len(DATA))).log()
    error = result.estimate.standard_error + terms.mean(0).std() / len(DATA) ** 0.5
    assert abs(result.estimate.mean - terms.mean()) < 0.2 * error + 0.05
    parts = elbo_decomposition(model, guide, DATA, progress=False)
    assert parts.elbo.mean == pytest.approx(parts.log_likelihood.mean - parts.kl.mean)


def test_parts_that_refer_to_each_other_are_copied_once():
    fn = dist.Normal(torch.zeros(3), 1.0)
    fn.myself = fn
    copied = Density("z", fn, -1).fn
    assert copied is not fn
    assert copied.myself is copied
