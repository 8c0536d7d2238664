"""Supports: followed through maps, covered by the guide at codes, masses apart from densities."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.infer import Trace_ELBO

from pyro_mivae.distributions import IntervalUniform, LogitNormal, RotatedPairs
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.guide_checks import require_code_support, require_support
from pyro_mivae.infer.supports import at_edge, is_discrete, support_bounds
from pyro_mivae.information import (
    elbo_decomposition,
    log_evidence,
    mi_per_dimension,
    per_dimension,
    sandwich,
)

pytestmark = pytest.mark.usefixtures("float64")

ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
INF = float("inf")
UNIT, STANDARD = dist.Uniform(ZERO, ONE), dist.Normal(ZERO, ONE)


def mapped(base, *maps):
    return dist.TransformedDistribution(base, list(maps))


def affine(loc, scale):
    return transforms.AffineTransform(torch.tensor(loc), torch.tensor(scale))


BOUNDS = {
    "Kumaraswamy": (lambda: dist.Kumaraswamy(2 * ONE, 3 * ONE), (0, 1)),
    "the same maps, unnamed": (
        lambda: mapped(UNIT, transforms.PowerTransform(ONE / 3), affine(1.0, -1.0)),
        (0, 1),
    ),
    "a falling power": (lambda: mapped(UNIT, transforms.PowerTransform(-ONE)), (1, INF)),
    "exp of bounded": (lambda: mapped(UNIT, transforms.ExpTransform()), (1, 2.718281828459045)),
    "sigmoid of bounded": (lambda: mapped(UNIT, transforms.SigmoidTransform()), (0.5, 0.731058579)),
    "log of bounded": (lambda: mapped(UNIT, transforms.ExpTransform().inv), (-INF, 0)),
    "tanh": (lambda: mapped(STANDARD, transforms.TanhTransform()), (-1, 1)),
    "a cdf": (
        lambda: mapped(STANDARD, transforms.CumulativeDistributionTransform(STANDARD)),
        (0, 1),
    ),
    "a quantile function": (
        lambda: mapped(UNIT, transforms.CumulativeDistributionTransform(STANDARD).inv),
        (-INF, INF),
    ),
    "softplus of bounded": (
        lambda: mapped(UNIT, transforms.SoftplusTransform()),
        (0.693147181, 1.313261688),
    ),
    "absolute value": (
        lambda: mapped(dist.Uniform(-3 * ONE, ONE), transforms.AbsTransform()),
        (0, 3),
    ),
    "wrapped maps": (
        lambda: mapped(
            UNIT,
            transforms.ComposeTransform([transforms.ExpTransform(), affine(0.0, 2.0)]).inv,
        ),
        (-INF, -0.693147181),
    ),
    "Beta, moved": (lambda: mapped(dist.Beta(ONE, ONE), affine(-1.0, 2.0)), (-1, 1)),
    "AffineBeta": (lambda: dist.AffineBeta(2 * ONE, ONE, -ONE, 2 * ONE), (-1, 1)),
    "LogNormal": (lambda: dist.LogNormal(ZERO, ONE), (0, INF)),
    "Weibull": (lambda: dist.Weibull(ONE, 2 * ONE), (0, INF)),
    "Pareto": (lambda: dist.Pareto(2 * ONE, ONE), (2, INF)),
    "Gumbel": (lambda: dist.Gumbel(ZERO, ONE), (-INF, INF)),
    "InverseGamma": (lambda: dist.InverseGamma(ONE, ONE), (0, INF)),
    "RelaxedBernoulli": (lambda: dist.RelaxedBernoulli(ONE, probs=ONE / 2), (0, 1)),
    "Dirichlet": (lambda: dist.Dirichlet(torch.ones(3)), (0, 1)),
    "counts that sum": (lambda: dist.Multinomial(3, torch.ones(2)), (0, 3)),
    "a mixture": (
        lambda: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)),
            dist.Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 3.0])),
        ),
        (-1, 3),
    ),
    "a masked mixture": (
        lambda: dist.MaskedMixture(torch.tensor(True), UNIT, dist.Exponential(ONE)),
        (0, INF),
    ),
    "a sigmoid of a flow": (
        lambda: mapped(
            dist.Normal(torch.zeros(2), 1.0),
            transforms.affine_coupling(2, hidden_dims=[4]),
            transforms.SigmoidTransform(),
        ),
        (0, 1),
    ),
}
UNKNOWN = {
    "a flow of bounded": lambda: mapped(
        dist.Uniform(torch.zeros(2), 1.0), transforms.affine_coupling(2, hidden_dims=[4])
    ),
    "a sigmoid of that": lambda: mapped(
        dist.Uniform(torch.zeros(2), 1.0),
        transforms.affine_coupling(2, hidden_dims=[4]),
        transforms.SigmoidTransform(),
    ),
    "a flow, which may not reach the real line": lambda: mapped(
        dist.Normal(torch.zeros(2), 1.0), transforms.planar(2)
    ),
    "angles": lambda: dist.VonMises(ZERO, ONE),
    "a sphere": lambda: dist.ProjectedNormal(torch.ones(3)),
    "a point": lambda: dist.Delta(ZERO),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_of_supports(case):
    build, expected = BOUNDS[case]
    low, high = support_bounds(build())
    ends = float(low.min()), float(high.max())
    assert ends == pytest.approx(expected, rel=1e-8)
    assert not torch.cat([low.flatten(), high.flatten()]).isnan().any()


@pytest.mark.parametrize("case", UNKNOWN)
def test_bounds_that_are_not_known(case):
    assert support_bounds(UNKNOWN[case]()) is None


def test_bounds_leave_the_memory_of_a_map_alone():
    """The draw's own pair scores it exactly, however far the map saturates."""
    squash = transforms.SigmoidTransform(cache_size=1)
    fn = mapped(dist.Normal(torch.tensor(60.0), 1.0), squash)
    draw = fn.sample()
    before = fn.log_prob(draw)
    support_bounds(fn)
    torch.testing.assert_close(fn.log_prob(draw), before, rtol=0, atol=0)


# Codes are drawn from the prior and scored under the guide.


def pair(prior, posterior, loc=lambda z: z):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(loc(z) * ONE, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return model, guide


X = torch.linspace(0.05, 0.95, 40, dtype=torch.float64)
NARROWER = {
    "half of the interval": (lambda: UNIT, lambda x: dist.Uniform(0 * x, 0.5)),
    "an interval under a Normal": (lambda: STANDARD, lambda x: LogitNormal(x, ONE, -3.0, 3.0)),
    "positive under a Normal": (lambda: STANDARD, lambda x: dist.LogNormal(x, ONE)),
    "moved by an affine map": (
        lambda: dist.Uniform(-ONE, ONE),
        lambda x: dist.Beta(1 + x.sigmoid(), ONE),
    ),
    "fewer letters": (
        lambda: dist.Categorical(torch.ones(3)),
        lambda x: dist.Categorical(torch.ones(len(x), 2)),
    ),
}


@pytest.mark.parametrize("case", NARROWER)
def test_a_guide_that_is_narrower_at_a_code_is_refused(case):
    model, guide = pair(*NARROWER[case])
    base = {"elbo": Trace_ELBO()}
    message = (
        r"guide's support is narrower than the prior's at code site 'z': the guide \(\w+\) has "
        r"density on \(.*\) only, the prior \(\w+\) draws from \(.*mi_weight=0"
    )
    for step in (
        lambda: TraceMI_ELBO(channel="sample", **base).loss(model, guide, X),
        lambda: TraceMI_ELBO(channel="sleep", mi_weight=0, **base).terms(model, guide, X),
        lambda: TraceMI_ELBO(channel="sample", num_dual_samples=3, **base).terms(model, guide, X),
        lambda: sandwich(model, guide, X, num_samples=5, progress=False),
        lambda: mi_per_dimension(model, guide, X, channel="sample"),
    ):
        with pytest.raises(ValueError, match=message):
            step()
    # The base alone, and the evidence, draw from the guide.
    TraceMI_ELBO(channel="sample", mi_weight=0, **base).loss(model, guide, X)
    assert log_evidence(model, guide, X, num_samples=3, progress=False).per_datum.isfinite().all()


def test_a_narrower_guide_whose_codes_are_scored_by_normals():
    model, guide = pair(*NARROWER["moved by an affine map"])
    terms = TraceMI_ELBO(channel="sample", code_scale=1.0).terms(model, guide, X)
    assert terms["mi"].isfinite()
    with pytest.raises(ValueError, match="narrower"):  # discrete codes are scored by the guide
        TraceMI_ELBO(channel="sample", code_scale=1.0, elbo=Trace_ELBO()).terms(
            *pair(*NARROWER["fewer letters"]), X
        )


def test_a_support_that_moves_with_the_data_may_be_narrower():
    """The exact posterior of uniform noise is narrower than the prior, and holds every code."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-ONE, ONE))
            pyro.sample("x", dist.Uniform(z - 0.5, z + 0.5), obs=x)

    def exact(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform((x - 0.5).clamp(min=-1), (x + 0.5).clamp(max=1)))

    def missing(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(x - 0.1, x + 0.1))

    x = torch.zeros(2000, dtype=torch.float64)
    torch.manual_seed(0)
    mi = TraceMI_ELBO(channel="sample").terms(model, exact, x)["mi"] / len(x)
    assert abs(float(mi) - 0.943) < 0.05  # log 2 + (1 / 4 of the data at an edge) nats, roughly
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    with pytest.raises(ValueError, match="value of site 'z' lies outside of the support of the"):
        elbo.terms(model, missing, x)


@pytest.mark.parametrize("exact", [True, False])
def test_a_support_that_moves_with_the_only_datum_may_be_narrower(exact):
    """Without a plate its bounds have nothing to be compared with: x' is followed to them."""
    width = 0.5 if exact else 0.1

    def model(x):
        z = pyro.sample("z", dist.Uniform(-3.0, 3.0))
        pyro.sample("x", dist.Uniform(z - 0.5, z + 0.5), obs=x)

    def guide(x):
        pyro.sample("z", dist.Uniform(x - width, x + width))

    torch.manual_seed(3)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    x = torch.tensor(0.3, dtype=torch.float64)
    if exact:  # log of the ratio of the widths, 6 to 1
        assert float(elbo.terms(model, guide, x)["mi"]) == pytest.approx(math.log(6))
    else:  # a code lies outside
        with pytest.raises(ValueError, match="support is narrower than the prior's at code site"):
            elbo.terms(model, guide, x)


def at(fn):
    return pyro.poutine.trace(lambda: pyro.sample("z", fn)).get_trace()


def test_only_the_dimensions_that_are_code_have_to_be_covered():
    prior = dist.Uniform(-torch.ones(2), 1.0).to_event(1)
    posterior = dist.Uniform(torch.tensor([-1.0, 0.0]), 1.0).to_event(1)
    require_code_support(at(prior), at(posterior), {"z": slice(0, 1)})
    require_code_support(at(prior), at(posterior), {"z": 0})
    for dims in (None, [1], slice(0, 2)):
        with pytest.raises(ValueError, match=r"has density on \(0, 1\)|density on \(-1, 1\)"):
            require_code_support(at(prior), at(posterior), {"z": dims})


@pytest.mark.parametrize(
    ("prior", "posterior", "covered"),
    [
        (RotatedPairs(IntervalUniform(-1, 1, torch.zeros(2)).to_event(1), -1, 1), None, True),
        (IntervalUniform(-1.4143, 1.4143, torch.zeros(2)).to_event(1), None, False),
        (IntervalUniform(-0.7, 0.7, torch.zeros(2)).to_event(1), None, True),
    ],
    ids=["the same", "a square around it: its corners", "a square inside"],
)
def test_turned_pairs_cover_what_lies_in_their_square(prior, posterior, covered):
    posterior = RotatedPairs(IntervalUniform(-1, 1, torch.zeros(2)).to_event(1), -1, 1)
    if covered:
        require_code_support(at(prior), at(posterior), {"z": None})
    else:
        with pytest.raises(ValueError, match="along the sides of its turned square"):
            require_code_support(at(prior), at(posterior), {"z": None})


def test_a_kumaraswamy_guide_has_the_information_of_its_closed_form():
    """x' tells nothing of z, so that the bound is minus the KL of prior and guide."""
    model, guide = pair(lambda: UNIT, lambda x: dist.Kumaraswamy(2 + 0 * x, ONE), lambda z: 0 * z)
    x = torch.zeros(20_000, dtype=torch.float64)
    torch.manual_seed(0)
    mi = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO()).terms(model, guide, x)["mi"] / len(x)
    # E log(2 z) = log 2 - 1 under the uniform prior, with variance 1.
    assert abs(float(mi) - (torch.tensor(2.0).log().item() - 1)) < 4 / len(x) ** 0.5


# A mass and a density.

KINDS = {
    "OneHotCategorical": (dist.OneHotCategorical(torch.ones(3)), True),
    "straight-through": (dist.OneHotCategoricalStraightThrough(torch.ones(3)), True),
    "relaxed": (dist.RelaxedOneHotCategorical(ONE, torch.ones(3)), False),
    "relaxed, straight-through": (
        dist.RelaxedOneHotCategoricalStraightThrough(ONE, torch.ones(3)),
        False,
    ),
    "counts, moved": (mapped(dist.Poisson(ONE), affine(1.0, 2.0)), True),
    "zero-inflated": (dist.ZeroInflatedPoisson(ONE, gate=ONE / 2).mask(False), True),
    "mixture of counts": (
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Poisson(torch.ones(2))),
        True,
    ),
    "masked mixture": (
        dist.MaskedMixture(torch.tensor(True), dist.Poisson(ONE), dist.Geometric(ONE / 2)),
        True,
    ),
    "Normal": (STANDARD, False),
    "a point": (dist.Delta(ZERO), None),
}


@pytest.mark.parametrize("case", KINDS)
def test_masses_and_densities(case):
    fn, expected = KINDS[case]
    assert is_discrete(fn) is expected


MEASURES = {
    "relaxed guide": (
        lambda: dist.OneHotCategorical(torch.ones(3)),
        lambda x: dist.RelaxedOneHotCategorical(ONE, logits=x[:, None] * torch.ones(3)),
        lambda z: z[..., 0],
    ),
    "relaxed guide with hard draws": (
        lambda: dist.OneHotCategorical(torch.ones(3)),
        lambda x: dist.RelaxedOneHotCategoricalStraightThrough(
            ONE, logits=x[:, None] * torch.ones(3)
        ),
        lambda z: z[..., 0],
    ),
    "relaxed bits": (
        lambda: dist.Bernoulli(ONE / 2),
        lambda x: dist.RelaxedBernoulli(ONE, logits=x),
        lambda z: z,
    ),
    "relaxed prior": (
        lambda: dist.RelaxedBernoulli(ONE, probs=ONE / 2),
        lambda x: dist.Bernoulli(x),
        lambda z: z,
    ),
    "counts under a density": (
        lambda: dist.Normal(ZERO, ONE),
        lambda x: dist.Poisson(x),
        lambda z: z,
    ),
}


@pytest.mark.parametrize("case", MEASURES)
def test_a_mass_is_no_density(case):
    model, guide = pair(*MEASURES[case])
    message = r"at site 'z' the prior \(\w+\) is (discrete|continuous) and the guide \(\w+\) (d|c)"
    for step in (
        lambda: TraceMI_ELBO(channel="sample", elbo=Trace_ELBO()).terms(model, guide, X),
        lambda: TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), code_scale=1.0).terms(
            model, guide, X
        ),
        lambda: sandwich(model, guide, X, num_samples=5, progress=False),
        lambda: log_evidence(model, guide, X, num_samples=5, progress=False),
        lambda: elbo_decomposition(model, guide, X, progress=False),
    ):
        with pyro.validation_enabled(False), pytest.raises(ValueError, match=message):
            step()
    if "bits" in case:  # the dimensions of the others have no marginals that are known
        with pyro.validation_enabled(False), pytest.raises(ValueError, match=message):
            per_dimension(model, guide, X, progress=False)


def test_support_that_exceeds_is_found_through_bounded_maps():
    with pytest.raises(ValueError, match=r"draws from \(1, 2.71828\), the prior .* on \(0, 1\)"):
        require_support(at(UNIT), at(mapped(UNIT, transforms.ExpTransform())))


# Draws at an edge.


def test_which_numbers_lie_at_an_edge():
    relaxed = dist.RelaxedBernoulli(torch.tensor(0.01), probs=torch.tensor(0.5))
    eps, tiny = torch.finfo(torch.float32).eps, torch.finfo(torch.float32).tiny
    value = torch.tensor([0.0, tiny, 1e-30, 0.5, 1 - 2 * eps, 1 - eps, 1.0], dtype=torch.float32)
    expected = [True, True, False, False, False, True, True]
    assert at_edge(relaxed, value).tolist() == expected
    assert at_edge(relaxed, value.double()).tolist() == [True] + [False] * 5 + [True]
    assert at_edge(UNIT, value) is None  # its density is the same there
    assert at_edge(STANDARD, value) is not None
    assert not at_edge(STANDARD, value).any()
    assert at_edge(dist.Bernoulli(ONE / 2), value) is None
    simplex = dist.RelaxedOneHotCategorical(ONE, torch.ones(3))
    assert at_edge(simplex, value.double()[[0, 3, 6]]).tolist() == [True, False, False]


def test_hard_draws_of_relaxed_codes_are_judged_by_what_they_score():
    eps = torch.finfo(torch.float32).eps
    fn = dist.RelaxedBernoulliStraightThrough(torch.tensor(1.0), probs=torch.tensor(0.5))
    value = torch.tensor([0.0, 1.0], dtype=torch.float32)
    value._unquantize = torch.tensor([eps, 0.75], dtype=torch.float32)
    assert at_edge(fn, value).tolist() == [True, False]


def test_first_step_says_that_codes_lie_at_an_edge(caplog):
    model, guide = pair(
        lambda: dist.RelaxedBernoulli(torch.tensor(0.01), probs=ONE / 2),
        lambda x: dist.RelaxedBernoulli(torch.tensor(0.01), logits=x),
    )
    elbo = TraceMI_ELBO(channel="sample")
    for _ in range(2):
        elbo.terms(model, guide, X)
    (record,) = [r for r in caplog.records if "at an edge" in r.message]
    assert "numbers of the code 'z'" in record.message
    assert "Logistic" in record.message


def test_a_draw_that_its_transform_remembers_is_at_no_edge():
    """The transform scores what the draw was before rounding; at another's draw it can't."""
    fn = LogitNormal(torch.full((50,), 30.0), torch.ones(50), -1.0, 1.0)
    value = fn.rsample()
    assert at_edge(fn, value) is None
    unrounded = fn.transforms[-1]._cached_x_y[0] if fn.transforms else value
    expected = fn.base_dist.log_prob(unrounded) - fn.transforms[-1].log_abs_det_jacobian(
        unrounded, value
    )
    torch.testing.assert_close(fn.log_prob(value), expected)
    assert at_edge(fn, value.clone()) is not None  # another's draw is looked at
