"""Every measurement takes what the others take: data_args, observed, prepare, codes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import (
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    mi_per_dimension,
    per_dimension,
    sandwich,
)

pytestmark = pytest.mark.usefixtures("float64")

N = 2000


def scaled(raw):
    """The model observes what it makes of its argument, so that x' has to be sent there."""
    with pyro.plate("data", len(raw)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=raw / 10)


def scaled_guide(raw):
    with pyro.plate("data", len(raw)):
        pyro.sample("z", dist.Normal(raw / 20, 0.5**0.5).to_event(1))


def back(generated, args, kwargs):
    return (10 * generated["x"],), kwargs


def test_data_args_of_the_measurements_by_dimension():
    raw = 10 * torch.randn(N, 2)
    table = per_dimension(scaled, scaled_guide, raw, data_args=back, progress=False)
    by_dim = mi_per_dimension(scaled, scaled_guide, raw, channel="sample", data_args=back)
    for value in (*table["mi_z"].values.flatten(), *by_dim["z"]):
        assert abs(float(value) - 0.5 * math.log(2)) < 5 * (0.5 / N) ** 0.5


def conditional(x, y):
    """p(y) p(z) p(x|z, y): y is a covariate."""
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(3.0, 0.1), obs=y)
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)


def conditional_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((x - y) / 2, 0.5**0.5))


def test_observed_of_the_measurements():
    y = torch.randn(N)
    x = y + 2**0.5 * torch.randn(N)
    evidence = log_evidence(
        conditional, conditional_guide, (x, y), observed="y", num_samples=2, progress=False
    )
    truth = dist.Normal(y, 2**0.5).log_prob(x)
    torch.testing.assert_close(evidence.per_datum, truth)
    by_dim = mi_per_dimension(
        conditional, conditional_guide, (x, y), channel="sample", observed=["y"]
    )
    assert abs(float(by_dim["z"]) - 0.5 * math.log(2)) < 5 * (0.5 / N) ** 0.5


def test_observed_of_log_evidence_has_to_be_a_covariate():
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    data = (torch.randn(5), torch.randn(5))
    with pytest.raises(ValueError, match=r"'y' depends on the latent sites \['z'\]"):
        log_evidence(model, conditional_guide, data, observed="y", progress=False)
    with pytest.raises(ValueError, match="expected some of the observed sites"):
        log_evidence(model, conditional_guide, data, observed="w", progress=False)


def test_sandwich_prepares_its_arguments():
    raw = torch.randint(0, 255, (300, 2), dtype=torch.uint8)
    bounds = sandwich(
        scaled,
        scaled_guide,
        raw,
        prepare=lambda images: images.double(),
        data_args=back,
        num_samples=2,
        progress=False,
    )
    assert abs(bounds.lower.mean - math.log(2)) < 5 * bounds.lower.standard_error


def auxiliary_guide(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        pyro.sample("extra", dist.Normal(z, 1.0), infer={"is_auxiliary": True})


def simple(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_the_advice_of_elbo_decomposition_can_be_followed():
    x = 2**0.5 * torch.randn(300)
    with pytest.raises(ValueError, match="name those with codes"):
        elbo_decomposition(simple, auxiliary_guide, x, progress=False)
    parts = elbo_decomposition(simple, auxiliary_guide, x, codes="z", progress=False)
    truth = float(dist.Normal(0.0, 2**0.5).log_prob(x).mean())
    assert parts.elbo.mean == pytest.approx(truth, abs=1e-9)


def test_results_name_their_codes():
    x = torch.randn(50)
    assert str(aggregate_information(auxiliary_guide, x, codes="z", progress=False)).startswith(
        "I_q(z; x)"
    )

    def named(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x / 2, 0.7))

    assert str(aggregate_information(named, x, codes="c", progress=False)).startswith("I_q(c; x)")
    bounds = sandwich(simple, auxiliary_guide, x, codes="z", num_samples=2, progress=False)
    assert "<= I(z; x') <=" in str(bounds)


def mixture(x):
    with pyro.plate("data", len(x)):
        d = pyro.sample("d", dist.Categorical(torch.ones(2)))
        pyro.sample("x", dist.Normal(4.0 * d, 1.0), obs=x)
    return d


def mixture_guide(x):
    with pyro.plate("data", len(x)):
        logits = torch.stack([torch.zeros(len(x)), 4.0 * x - 8.0], -1)
        pyro.sample("d", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})


def test_what_the_base_has_is_handed_through():
    x = torch.tensor([0.0, 2.0, 4.0])
    base = TraceEnum_ELBO(max_plate_nesting=1)
    elbo = TraceMI_ELBO(channel="sample", elbo=base)
    model = pyro.infer.config_enumerate(mixture)
    found = elbo.compute_marginals(model, lambda x: None, x)["d"].probs
    expected = base.compute_marginals(model, lambda x: None, x)["d"].probs
    torch.testing.assert_close(found, expected)
    draws = []
    for each in (elbo, base):
        pyro.set_rng_seed(1)
        draws.append(each.sample_posterior(model, lambda x: None, x))
    assert torch.equal(*draws)
    other = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    assert not hasattr(other, "compute_marginals")
    with pytest.raises(AttributeError, match="are TraceEnum_ELBO's"):
        other.compute_marginals(model, lambda x: None, x)


def test_a_guide_without_rsample_raises_what_pyros_code_catches():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("d", dist.Categorical(torch.ones(len(x), 2)))

    for kind in (ValueError, NotImplementedError):
        with pytest.raises(kind, match="no reparameterised sampler"):
            TraceMI_ELBO(channel="sample").loss(mixture, guide, torch.zeros(3))
