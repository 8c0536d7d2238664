"""Distributions with habits: inflated counts, flows without inverse, means that are not finite."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.infer import Trace_ELBO

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.dual.channel import CHANNELS, has_useful_mean
from pyro_mivae.information import (
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    mi_per_dimension,
    per_dimension,
    sandwich,
)
from pyro_mivae.traces.scoring import log_prob
from pyro_mivae.traces.sites import expanded, marginals, unmasked

pytestmark = pytest.mark.usefixtures("float64")

# Likelihoods of a bit: p(x'|z) for x' in 0, ..., 30 gives the information by enumeration.

RATES = torch.tensor([0.5, 3.0], dtype=torch.float64)
LOGITS = torch.tensor([1.0, -1.0], dtype=torch.float64)
COUNTS = {
    "ZeroInflatedPoisson, gate": lambda z: dist.ZeroInflatedPoisson(
        RATES[z], gate=LOGITS[z].sigmoid()
    ),
    "ZeroInflatedPoisson, logits": lambda z: dist.ZeroInflatedPoisson(
        RATES[z], gate_logits=LOGITS[z]
    ),
    "ZeroInflatedNegativeBinomial, gate": lambda z: dist.ZeroInflatedNegativeBinomial(
        RATES[z], logits=LOGITS[z] - 1, gate=LOGITS[z].sigmoid()
    ),
    "ZeroInflatedNegativeBinomial, logits": lambda z: dist.ZeroInflatedNegativeBinomial(
        RATES[z], logits=LOGITS[z] - 1, gate_logits=LOGITS[z]
    ),
    "a gate that all data share": lambda z: dist.ZeroInflatedPoisson(
        RATES[z], gate_logits=LOGITS[0]
    ),
    "BetaBinomial": lambda z: dist.BetaBinomial(RATES[z], 2 - z, 10),
    "GammaPoisson": lambda z: dist.GammaPoisson(RATES[z], 1.0),
    "a mixture of counts": lambda z: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(*z.shape, 2)),
        dist.Poisson(torch.stack([RATES[z], 0.5 * RATES[z]], -1)),
    ),
    "a masked mixture": lambda z: dist.MaskedMixture(
        z > 0, dist.Poisson(RATES[z]), dist.ZeroInflatedPoisson(RATES[z], gate_logits=LOGITS[z])
    ),
    "OrderedLogistic": lambda z: dist.OrderedLogistic(
        LOGITS[z], torch.tensor([-1.0, 0.5], dtype=torch.float64)
    ),
}


def bits(likelihood, wrap=lambda fn: fn):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2)))
            pyro.sample("x", wrap(likelihood(z)), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=torch.stack([0 * x, x - 1.0], -1)))

    return model, guide


def exact_bound(likelihood):
    """E[log q(z|x') - log p(z)] and its standard deviation, by enumeration."""
    x = torch.arange(3 if "Ordered" in str(likelihood(torch.tensor(0))) else 11).double()
    if not isinstance(likelihood(torch.tensor(0)), dist.OrderedLogistic | dist.BetaBinomial):
        x = torch.arange(100).double()
    joint = torch.stack(
        [0.5 * likelihood(torch.full((len(x),), z)).log_prob(x).exp() for z in (0, 1)], -1
    )
    torch.testing.assert_close(joint.sum(), torch.ones(()))
    terms = torch.stack([0 * x, x - 1.0], -1).log_softmax(-1) - torch.tensor(0.5).log()
    mean = (joint * terms).sum()
    return float(mean), float((joint * (terms - mean) ** 2).sum().sqrt())


@pytest.mark.parametrize(
    "wrap", [lambda fn: fn, lambda fn: dist.MaskedDistribution(fn, True)], ids=["plain", "masked"]
)
@pytest.mark.parametrize("case", COUNTS)
def test_counts_have_the_bound_of_an_enumeration(case, wrap):
    model, guide = bits(COUNTS[case], wrap)
    x = torch.ones(4000, dtype=torch.float64)
    mean, deviation = exact_bound(COUNTS[case])
    for channel in CHANNELS:
        elbo = TraceMI_ELBO(channel=channel, elbo=Trace_ELBO())
        if case == "OrderedLogistic" and channel in ("mean", "straight-through"):
            with pytest.raises(ValueError, match="has no useful mean"):
                elbo.terms(model, guide, x)
            continue
        torch.manual_seed(0)
        mi = elbo.terms(model, guide, x)["mi"] / len(x)
        assert mi.isfinite()
        if channel != "mean":
            assert abs(float(mi) - mean) < 4 * deviation / len(x) ** 0.5


@pytest.mark.parametrize("case", COUNTS)
def test_measurements_of_counts(case):
    model, guide = bits(COUNTS[case])
    x = torch.ones(1500, dtype=torch.float64)
    mean, deviation = exact_bound(COUNTS[case])
    error = 4 * deviation / len(x) ** 0.5
    bounds = sandwich(model, guide, x, num_samples=30, progress=False)
    assert abs(bounds.barber_agakov.mean - mean) < error
    assert bounds.lower.mean < bounds.upper.mean + 0.02
    by_dimension = per_dimension(model, guide, x, progress=False)["mi_z"]
    assert abs(float(by_dimension.squeeze()) - mean) < error
    evidence = log_evidence(model, guide, x[:3], num_samples=4000, progress=False)
    exact = COUNTS[case](torch.tensor([0, 1])).log_prob(x[:1]).exp().mean().log()
    assert evidence.mean == pytest.approx(float(exact), abs=0.05)


def test_expands_only_what_needs_it():
    fn = dist.ZeroInflatedPoisson(torch.ones(3), gate_logits=torch.zeros(3))
    fn.sample()  # derives the gate from its logits
    assert expanded(fn, fn.batch_shape) is fn
    wide = expanded(fn, torch.Size([2, 3]))
    value = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    torch.testing.assert_close(wide.log_prob(value), fn.log_prob(value))
    assert unmasked(fn.mask(False).to_event(1)).batch_shape == ()
    assert marginals(fn.to_event(1), "x").log_prob(value[0]).shape == (3,)


def test_what_cannot_be_expanded_repeats_its_values():
    class Rigid(dist.Poisson):
        def expand(self, batch_shape, _instance=None):
            raise NotImplementedError

    fn = Rigid(torch.tensor([1.0, 2.0]))
    wide = expanded(fn, torch.Size([3, 2]))
    assert wide.sample().shape == (3, 2)
    value = torch.ones(3, 2)
    torch.testing.assert_close(wide.log_prob(value), fn.log_prob(value))


def test_a_draw_leaves_the_density_of_a_gate_by_logits():
    """Pyro derives a gate of exactly 1 from these logits, and scores by it from then on."""
    logits = torch.tensor(40.0, dtype=torch.float32)
    fn = dist.ZeroInflatedPoisson(torch.tensor(2.0, dtype=torch.float32), gate_logits=logits)
    value = torch.tensor(1.0, dtype=torch.float32)
    before = fn.log_prob(value)
    fn.sample()
    torch.testing.assert_close(log_prob(fn, value, "x"), before)
    assert before.isfinite()


# Flows.

X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def flow_pair(flow):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(x / 2, 0.7), [flow]))

    return model, guide


WITHOUT = {
    "Planar": lambda: transforms.planar(2),
    "Radial": lambda: transforms.radial(2),
    "Sylvester": lambda: transforms.sylvester(2, count_transforms=2),
    "Polynomial": lambda: transforms.polynomial(2, hidden_dims=[8]),
    "BlockAutoregressive": lambda: transforms.block_autoregressive(2),
    "among others": lambda: transforms.ComposeTransformModule(
        [transforms.planar(2), transforms.affine_coupling(2, hidden_dims=[8])]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WITHOUT)
def test_flows_without_inverse_are_named(case):
    flow = WITHOUT[case]()
    model, guide = flow_pair(flow)
    message = r"density of site 'z' .* the inverse of its transform (\w+), and \1 has none.*mi_w"
    for step in (
        lambda: TraceMI_ELBO(channel="sample").terms(model, guide, X),
        lambda: TraceMI_ELBO(channel="sleep").terms(model, guide, X),
        lambda: TraceMI_ELBO(channel="sample", num_dual_samples=3).terms(model, guide, X),
        lambda: sandwich(model, guide, X, num_samples=3, progress=False),
        lambda: aggregate_information(guide, X, progress=False),
        lambda: elbo_decomposition(model, guide, X, progress=False),
    ):
        with pytest.raises(ValueError, match=message):
            step()
    # What scores the guide's own draws needs no inverse.
    assert TraceMI_ELBO(channel="sample", mi_weight=0).loss(model, guide, X) > 0
    evidence = log_evidence(model, guide, X, num_samples=2000, progress=False)
    exact = dist.Normal(torch.zeros(2), 2**0.5).to_event(1).log_prob(X).mean()
    assert evidence.mean < float(exact) + 0.1
    if case != "BlockAutoregressive":  # far from the posterior
        assert evidence.mean > float(exact) - 0.2


def test_other_errors_of_a_density_are_left_alone():
    class Broken(dist.Normal):
        def log_prob(self, value):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        log_prob(Broken(0.0, 1.0), torch.zeros(()), "z")


# Means.

NOT_FINITE = {
    "StudentT": lambda z: dist.StudentT(1.0, z, 1.0),
    "Pareto": lambda z: dist.Pareto(torch.ones_like(z), 1.0),
    "InverseGamma": lambda z: dist.InverseGamma(torch.ones_like(z), 1.0),
    "LogNormal": lambda z: dist.LogNormal(z + 800, 1.0),
    "GeneralizedPareto": lambda z: dist.GeneralizedPareto(0 * z, 1.0, 1.5),
    "ZeroInflatedDistribution": lambda z: dist.ZeroInflatedDistribution(
        dist.StudentT(1.0, z, 1.0), gate=torch.full_like(z, 0.5)
    ),
}


@pytest.mark.parametrize("case", NOT_FINITE)
@pytest.mark.parametrize("channel", ["mean", "straight-through"])
def test_means_that_are_not_finite(case, channel):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", NOT_FINITE[case](z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.clamp(-1, 1), 1.0))

    x = torch.full((5,), 2.0, dtype=torch.float64)
    elbo = TraceMI_ELBO(channel=channel)
    if channel == "mean" or case == "ZeroInflatedDistribution":  # the others have rsample
        message = f"channel '{channel}' .* 5 of 5 means of site 'x' are .* a {case} .*'sample' or"
        for _ in range(2):
            with pytest.raises(ValueError, match=message):
                elbo.terms(model, guide, x)
    else:
        elbo.terms(model, guide, x)
    if case != "LogNormal":
        TraceMI_ELBO(channel="sample").terms(model, guide, x)


def test_means_are_looked_at_once(monkeypatch):
    """Looking waits for the device."""
    looked = []
    monkeypatch.setattr(
        "pyro_mivae.infer.dual.first_look._count", lambda flags: looked.append(1) or 0
    )
    model, guide = flow_pair(transforms.affine_coupling(2, hidden_dims=[8]))
    elbo = TraceMI_ELBO(channel="mean")
    elbo.terms(model, guide, X)
    count = len(looked)
    elbo.terms(model, guide, X)
    assert count == len(looked) == 2  # the mean, and the codes' edges


def test_mixtures_have_a_mean_if_their_parts_have():
    bit, letter = dist.Bernoulli(0.5), dist.Categorical(torch.ones(2))
    mask = torch.tensor(True)
    assert has_useful_mean(dist.MaskedMixture(mask, bit, bit))
    assert not has_useful_mean(dist.MaskedMixture(mask, bit, letter))
    cauchy = dist.ZeroInflatedDistribution(dist.Cauchy(0.0, 1.0), gate=torch.tensor(0.5))
    assert not has_useful_mean(cauchy)


def test_counts_have_no_score_that_is_lost():
    """mi_per_dimension of a zero-inflated code, whose gate is given by logits."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(
                "z", dist.ZeroInflatedPoisson(torch.ones(2), gate_logits=torch.zeros(2)).to_event(1)
            )
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(
                "z", dist.ZeroInflatedPoisson(x.exp().clamp(max=5), gate_logits=-x).to_event(1)
            )

    mi = mi_per_dimension(model, guide, X.clamp(min=0).round(), channel="sample")["z"]
    torch.manual_seed(0)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    draws = torch.stack(
        [elbo.terms(model, guide, X.clamp(min=0).round())["mi"] / len(X) for _ in range(200)]
    )
    assert abs(mi.sum() - draws.mean()) < 4 * draws.std()
