import contextlib
import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence
from torch.nn.functional import softplus

from pyro_mivae.distributions import IntervalUniform
from pyro_mivae.priors import (
    PRIORS,
    BimodalPrior,
    CategoricalPrior,
    GaussianPrior,
    LaplacePrior,
    MixturePrior,
    ProbitPrior,
    RotatedUniformPrior,
    UniformPrior,
    make_prior,
)

pytestmark = pytest.mark.usefixtures("one_thread")

F32, F64 = torch.float32, torch.float64
PAIRS = [
    (name, family)
    for name, prior in PRIORS.items()
    for family in (*prior.posteriors, *prior.full_posteriors)
]
FULL = [(name, family) for name, prior in PRIORS.items() for family in prior.full_posteriors]
ANALYTIC = [
    ("gaussian", "normal"),
    ("gaussian", "full-normal"),
    ("uniform", "beta"),
    ("laplace", "laplace"),
    ("laplace", "normal"),
    ("laplace", "full-normal"),
    ("probit", "probit-normal"),
    ("probit", "full-probit-normal"),
    ("rotated", "beta"),
]
OPTIONS = {
    "gaussian": {"loc": 0.7, "scale": 2.0},
    "uniform": {"low": 5.0, "high": 7.5},
    "laplace": {"loc": -0.3, "scale": 0.4},
    "mixture": {"components": 3},
    "bimodal": {"loc": -0.3, "scale": 0.4, "distance": 0.8},
    "probit": {"low": 5.0, "high": 7.5},
    "rotated": {"low": 5.0, "high": 7.5},
}
DIM = 4
KL_BIMODAL = 0.046878  # of a normal with its moments, at distance 0.8, by quadrature


@contextlib.contextmanager
def no_validation():
    """Pyro's validation looks at values, which fake and meta tensors do not have."""
    with pyro.validation_enabled(False):
        before = torch.distributions.Distribution._validate_args
        torch.distributions.Distribution.set_default_validate_args(False)
        try:
            yield
        finally:
            torch.distributions.Distribution.set_default_validate_args(before)


def shaken(name):
    """A prior in float64, with options that are not the default and weights that are learnt."""
    prior = make_prior(name, DIM, **OPTIONS[name]).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    return prior


def kl_or_sample(q, p, value):
    """What Pyro's mean-field ELBO does, per datum."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(value) - p.log_prob(value)


def raw_numbers(posterior, lead, *values):
    """Raw numbers of one value for each parameter; those of a covariance alternate in sign."""
    raw = torch.cat([torch.full((lead, DIM), value) for value in values], -1)
    further = torch.full((lead, posterior.num_raw - 2 * DIM), max(values, key=abs))
    further[:, ::2] *= -1
    return torch.cat([raw, further], -1)


@pytest.mark.parametrize("name", PRIORS)
def test_prior_shapes_and_device(name):
    prior = make_prior(name, DIM)
    assert prior.dim == DIM
    p = prior()
    assert (p.batch_shape, p.event_shape) == ((), (DIM,))
    assert name == "rotated" or p.base_dist.batch_shape == (DIM,)
    assert p.has_rsample
    assert p.rsample((5,)).dtype == F32
    p = prior.double()()
    assert p.rsample((5,)).dtype == p.log_prob(p.sample()).dtype == F64
    # Half precision is for networks: the distribution stays in float32.
    assert prior.bfloat16()().rsample().dtype == F32
    meta = make_prior(name, DIM).to("meta")
    assert all(x.device.type == "meta" for x in meta.state_dict().values())
    with no_validation():
        p = meta()
        assert p.log_prob(p.rsample((5,))).device.type == "meta"


@pytest.mark.parametrize("name", PRIORS)
def test_state_dict_and_learnable_parameters(name):
    prior, other = shaken(name), make_prior(name, DIM, **OPTIONS[name]).double()
    other.load_state_dict(prior.state_dict())
    value = prior().sample((4,))
    torch.testing.assert_close(other().log_prob(value), prior().log_prob(value))
    learnt = [key for key, _ in prior.named_parameters()]
    assert learnt == (["logits", "loc", "raw_scale"] if name == "mixture" else [])
    if learnt:
        prior().log_prob(value).sum().backward()
        assert all((x.grad != 0).all() for x in prior.parameters())


def test_densities_are_scipys():
    value = torch.linspace(-0.9, 0.9, 7, dtype=F64).unsqueeze(-1).expand(7, DIM)
    for prior, twin in [
        (GaussianPrior(DIM), scipy.stats.norm()),
        (GaussianPrior(DIM, loc=0.7, scale=2.0), scipy.stats.norm(0.7, 2.0)),
        (UniformPrior(DIM), scipy.stats.uniform(-1, 2)),
        (UniformPrior(DIM, low=-3, high=1), scipy.stats.uniform(-3, 4)),
        (LaplacePrior(DIM), scipy.stats.laplace(0, 1 / math.sqrt(2))),
        (LaplacePrior(DIM, loc=-0.3, scale=0.4), scipy.stats.laplace(-0.3, 0.4 / math.sqrt(2))),
        (ProbitPrior(DIM), scipy.stats.uniform(-1, 2)),
        (ProbitPrior(DIM, low=-3, high=1), scipy.stats.uniform(-3, 4)),
    ]:
        expected = torch.tensor(twin.logpdf(value.numpy())).sum(-1)
        torch.testing.assert_close(prior.double()().log_prob(value), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "bimodal"])
def test_scale_is_the_standard_deviation(name):
    p = make_prior(name, DIM, loc=0.3, scale=2.0)()
    torch.testing.assert_close(p.mean, torch.full((DIM,), 0.3))
    torch.testing.assert_close(p.variance.sqrt(), torch.full((DIM,), 2.0))
    for family in (*PRIORS[name].posteriors, *PRIORS[name].full_posteriors):
        posterior = make_prior(name, DIM, loc=0.3, scale=2.0).posterior(family)
        q = posterior(torch.zeros(posterior.num_raw))
        torch.testing.assert_close(q.mean, p.mean)
        torch.testing.assert_close(q.variance, p.variance)


@pytest.mark.parametrize(("loc", "scale", "distance"), [(0.0, 1.0, 0.9), (-0.3, 0.4, 0.8)])
def test_bimodal_is_a_mixture_of_two_normals(loc, scale, distance):
    prior = BimodalPrior(DIM, loc=loc, scale=scale, distance=distance).double()
    assert list(prior.parameters()) == []
    width = scale * math.sqrt(1 - distance**2)
    value = torch.linspace(-4, 4, 41, dtype=F64)
    parts = [scipy.stats.norm(loc + s * scale * distance, width) for s in (-1, 1)]
    expected = torch.tensor(sum(0.5 * part.pdf(value.numpy()) for part in parts)).log()
    found = prior().log_prob(value.unsqueeze(-1).expand(41, DIM))
    torch.testing.assert_close(found, DIM * expected, rtol=1e-5, atol=1e-5)
    draws = prior().base_dist.rsample((100_000,))
    assert not draws.requires_grad
    torch.testing.assert_close(
        draws.std(0), torch.full((DIM,), scale, dtype=F64), rtol=0.01, atol=0
    )
    # Two modes, and a valley between them.
    at = loc + scale * torch.tensor([[-distance], [0.0], [distance]]).double().expand(3, DIM)
    heights = prior().log_prob(at)
    assert (heights[[0, 2]] > heights[1] + 0.2 * DIM).all()


def test_the_dimensions_of_a_turned_pair_have_quantiles_given_each_other():
    prior = RotatedUniformPrior(4, low=5.0, high=7.5).double()
    centre, reach = 6.25, 2.5 / math.sqrt(2)
    given = torch.tensor([6.25, 7.0, 5.0, 6.5], dtype=F64)
    probability = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=F64)
    found = prior.quantile(probability, given)
    for d, other in enumerate((1, 0, 3, 2)):
        width = reach - abs(float(given[other]) - centre)
        torch.testing.assert_close(found[:, d], centre + width * (2 * probability - 1))
        moved = given.expand(4, 4).clone()
        moved[:, d] = found[:, d]
        assert prior().log_prob(moved).isfinite().all()
        moved[:, d] += torch.tensor([-1e-6, 0, 0, 1e-6]) * (1 + centre)
        assert prior().support.check(moved).tolist() == [False, True, True, False]
    # Draws near the given value of the partner: uniform between the ends.
    draws = prior().sample((400_000,))
    near = draws[(draws[:, 1] - given[1]).abs() < 0.01, 0].numpy()
    ends = prior.quantile(probability[[0, 3]], given)[:, 0]
    assert scipy.stats.kstest(near, "uniform", args=(ends[0], ends[1] - ends[0])).pvalue > 1e-4
    # Independent priors do not look at the others.
    uniform = make_prior("uniform", 4, low=5.0, high=7.5)
    assert torch.equal(uniform.quantile(probability, given), uniform.quantile(probability))


@pytest.mark.parametrize(("name", "family"), FULL)
def test_a_full_covariance_from_raw_numbers(name, family):
    prior = make_prior(name, DIM, **OPTIONS[name]).double()
    posterior = prior.posterior(family)
    raw = torch.randn(7, posterior.num_raw, dtype=F64)
    q = posterior(raw)
    while not hasattr(q, "scale_tril"):
        q = q.base_dist
    # Row by row below the diagonal, in units of the row's own scale.
    unit = q.scale_tril / q.scale_tril.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    bound = 1e6 ** (1 / 3) - 1
    for place, (row, column) in enumerate([(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]):
        expected = bound * torch.tanh(raw[:, 2 * DIM + place].asinh() / bound)
        torch.testing.assert_close(unit[:, row, column], expected)
    assert (unit.triu(1) == 0).all()
    # Without them it is the factorised family.
    raw[:, 2 * DIM :] = 0
    factorised = prior.posterior(family.removeprefix("full-"))(raw[:, : 2 * DIM])
    value = factorised.sample((5,))
    torch.testing.assert_close(posterior(raw).log_prob(value), factorised.log_prob(value.clone()))
    # The diagonal has a floor.
    raw[:, DIM : 2 * DIM] = -1e4
    floor, start = posterior(raw), posterior(torch.zeros_like(raw))
    while not hasattr(floor, "scale_tril"):
        floor, start = floor.base_dist, start.base_dist
    torch.testing.assert_close(floor.scale_tril, 1e-4 * start.scale_tril)


@pytest.mark.parametrize("components", [1, 2, 5, 20])
def test_mixture_starts_spread_out_with_mean_0_and_variance_1(components):
    prior = MixturePrior(DIM, components=components).double()
    p = prior().base_dist
    torch.testing.assert_close(p.mean, torch.zeros(DIM, dtype=F64), atol=1e-6, rtol=0)
    torch.testing.assert_close(p.variance, torch.ones(DIM, dtype=F64), atol=1e-5, rtol=0)
    quantiles = scipy.stats.norm.ppf([(k + 0.5) / components for k in range(components)])
    torch.testing.assert_close(prior.loc[1].detach(), torch.tensor(quantiles), atol=1e-6, rtol=0)
    assert (p.loc.diff() > 0).all()


@pytest.mark.parametrize("name", PRIORS)
def test_quantile_inverts_the_cdf(name):
    prior = shaken(name)
    p = torch.linspace(0, 1, 99, dtype=F64)[1:-1]
    q = prior.quantile(p)
    assert q.shape == (97, DIM)
    assert (q.diff(dim=0) > 0).all()
    if name == "rotated":  # which has no cdf: the triangular density of each dimension
        reach = (prior.high - prior.low) / math.sqrt(2)
        cdf = torch.tensor(scipy.stats.triang(0.5, 6.25 - reach, 2 * reach).cdf(q.numpy()))
    else:
        cdf = prior().base_dist.cdf(q)
    torch.testing.assert_close(cdf, p.unsqueeze(-1).expand(97, DIM), rtol=1e-9, atol=1e-12)
    assert prior.quantile(torch.tensor(0.5)).shape == (DIM,)
    assert prior.quantile(torch.rand(2, 4)).shape == (2, 4, DIM)
    if name in ("uniform", "probit"):
        edges = prior.quantile(torch.tensor([0.0, 1.0], dtype=F64))
        assert ((edges > prior.low) & (edges < prior.high)).all()


@pytest.mark.parametrize(("name", "family"), PAIRS)
@pytest.mark.parametrize("lead", [(), (5,), (2, 5)])
def test_posterior_shapes(name, family, lead):
    posterior = make_prior(name, DIM).posterior(family)
    further = DIM * (DIM - 1) // 2 if (name, family) in FULL else 0
    assert (posterior.name, posterior.dim) == (family, DIM)
    assert posterior.num_raw == 2 * DIM + further
    raw = torch.randn(*lead, posterior.num_raw)
    q = posterior(raw)
    assert (q.batch_shape, q.event_shape) == (lead, (DIM,))
    assert q.has_rsample
    assert q.rsample((7,)).shape == (7, *lead, DIM)
    for dtype, expected in [(torch.float16, F32), (torch.bfloat16, F32), (F32, F32), (F64, F64)]:
        assert posterior(raw.to(dtype)).rsample().dtype == expected


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_posterior_lives_on_the_priors_support(name, family):
    prior = make_prior(name, DIM, **OPTIONS[name])
    posterior = prior.posterior(family)
    p, q = prior(), posterior(5 * torch.randn(1000, posterior.num_raw))
    supports = [getattr(d.support, "base_constraint", d.support) for d in (p, q)]
    assert repr(supports[0]) == repr(supports[1])
    assert p.support.check(q.sample((10,))).all()
    assert p.log_prob(q.sample()).isfinite().all()
    assert q.log_prob(p.sample((1000,))).isfinite().all()


def test_raw_numbers_of_one_parameter_come_first():
    raw = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 2.0, 3.0])
    shift = math.log(math.e - 1)
    q = GaussianPrior(DIM).posterior()(raw).base_dist
    torch.testing.assert_close(q.loc, raw[:DIM])
    torch.testing.assert_close(q.scale, softplus(raw[DIM:] + shift), rtol=0, atol=2e-4)
    q = UniformPrior(DIM).posterior("beta")(raw).base_dist.base_dist
    torch.testing.assert_close(q.concentration1, softplus(raw[:DIM] + shift), rtol=0, atol=2e-2)
    torch.testing.assert_close(q.concentration0, softplus(raw[DIM:] + shift), rtol=0, atol=2e-2)
    q = UniformPrior(DIM).posterior("logit-normal")(raw).base_dist.base_dist
    torch.testing.assert_close(q.loc, 1.7488007394 * raw[:DIM])
    assert (q.scale.diff() > 0).all()


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_raw_zero_is_the_prior_or_comes_close(name, family):
    prior = make_prior(name, 2, **OPTIONS[name]).double()
    posterior = prior.posterior(family)
    q, p = posterior(torch.zeros(posterior.num_raw, dtype=F64)), prior()
    value = q.sample((100_000,))
    gap = q.log_prob(value) - p.log_prob(value)
    kl, error = gap.mean(), gap.std() / math.sqrt(len(gap))
    known = 0.0
    if "logit-normal" in family:
        known = 0.009512  # the least a logit-normal can have
    elif name == "laplace" and family != "laplace":
        known = 2 / math.sqrt(math.pi) - 0.5 * (1 + math.log(math.pi))  # of equal moments
    elif name == "mixture":
        known = 0.0174  # of three components with the moments of a standard normal
    elif name == "bimodal":
        known = KL_BIMODAL
    assert abs(kl - 2 * known) < 5 * error + 1e-6


def test_logit_normal_scale_at_raw_zero_is_the_best():
    y = torch.linspace(-12, 12, 4001, dtype=F64)
    weight = torch.exp(-0.5 * y**2) / math.sqrt(2 * math.pi)

    def kl(scale):
        q = dist.Normal(torch.zeros((), dtype=F64), scale)
        log_jacobian = -softplus(scale * y) - softplus(-scale * y)
        return torch.trapezoid(weight * (q.log_prob(scale * y) - log_jacobian), y)

    best = UniformPrior(1).posterior()(torch.zeros(2, dtype=F64)).base_dist.base_dist.scale
    best = best.clone().requires_grad_()
    kl(best).backward()
    assert best.grad.abs() < 1e-9
    assert kl(best) < min(kl(best * 0.99), kl(best * 1.01))
    assert kl(best).item() == pytest.approx(0.009512, abs=1e-6)


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_kl_is_analytic_where_it_can_be(name, family):
    prior = shaken(name)
    posterior = prior.posterior(family)
    p, q = prior(), posterior(torch.randn(4, posterior.num_raw, dtype=F64))
    if (name, family) not in ANALYTIC:
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p)
        return
    kl = kl_divergence(q, p)
    assert kl.shape == (4,)
    assert (kl > 0).all()
    value = q.sample((50_000,))
    gap = q.log_prob(value) - p.log_prob(value)
    assert ((kl - gap.mean(0)).abs() < 5 * gap.std(0) / math.sqrt(len(gap))).all()
    # As in a plate, which expands both.
    wide = kl_divergence(q.expand((6, 4)), p.expand((6, 4)))
    torch.testing.assert_close(wide, kl.expand(6, 4))


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_kl_in_pyros_elbos(name, family):
    prior = shaken(name)
    posterior = prior.posterior(family)
    raw = torch.randn(posterior.num_raw, dtype=F64).expand(500, -1)

    def model():
        with pyro.plate("data", 500):
            pyro.sample("c", prior())

    def guide():
        with pyro.plate("data", 500):
            pyro.sample("c", posterior(raw))

    sampled = torch.tensor([Trace_ELBO().loss(model, guide) for _ in range(20)], dtype=F64)
    mean_field = torch.tensor(
        [TraceMeanField_ELBO().loss(model, guide) for _ in range(20)], dtype=F64
    )
    error = math.hypot(sampled.std(), mean_field.std()) / math.sqrt(20)
    assert abs(sampled.mean() - mean_field.mean()) < 5 * error
    assert sampled.std() > 1e-2
    assert (mean_field.std() < 1e-5) == ((name, family) in ANALYTIC)


@pytest.mark.parametrize(("name", "family"), PAIRS)
@pytest.mark.parametrize("first", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("second", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_extreme_raw_numbers_stay_finite(name, family, first, second):
    prior = make_prior(name, DIM)
    posterior = prior.posterior(family)
    raw = raw_numbers(posterior, 50, first, second).requires_grad_()
    p, q = prior(), posterior(raw)
    value = q.rsample()
    outputs = {
        "draw": value,
        "log q of its draw": q.log_prob(value),
        "log q of the prior's": q.log_prob(p.sample((50,))),
        "log p": p.log_prob(value),
        "KL": kl_or_sample(q, p, value),
    }
    for what, output in outputs.items():
        assert output.isfinite().all(), what
        if output.requires_grad:
            (gradient,) = torch.autograd.grad(output.sum(), raw, retain_graph=True)
            assert gradient.isfinite().all(), what


@pytest.mark.parametrize("dim", [1, 2, 10, 40])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_full_covariance_stays_finite_in_many_dimensions(dim, sign):
    """All correlations at their bound, where the inverse grows the most."""
    prior = GaussianPrior(dim)
    posterior = prior.posterior("full-normal")
    for size in (10.0, 1e4):
        raw = size * torch.randn(50, posterior.num_raw).sign()
        raw[:, dim : 2 * dim] = -size
        raw[:, 2 * dim :] = sign * size
        q = posterior(raw.requires_grad_())
        value = q.rsample()
        outputs = q.log_prob(value), q.log_prob(prior().sample((50,))), kl_divergence(q, prior())
        for output in outputs:
            (gradient,) = torch.autograd.grad(output.sum(), raw, retain_graph=True)
            assert output.isfinite().all()
            assert gradient.isfinite().all()


def test_two_dimensions_can_correlate_nearly_fully():
    raw = torch.zeros(5, dtype=F64)
    raw[4] = 1e4
    q = GaussianPrior(2).double().posterior("full-normal")(raw)
    correlation = q.covariance_matrix / q.stddev[:, None] / q.stddev
    assert 0.99 < float(correlation[0, 1]) < 1


@pytest.mark.parametrize(("name", "family"), PAIRS)
@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_kl_pulls_an_extreme_location_back(name, family, value):
    prior = make_prior(name, DIM)
    posterior = prior.posterior(family)
    raw = torch.zeros(200, posterior.num_raw)
    raw[:, :DIM] = value
    p, q = prior(), posterior(raw.requires_grad_())
    kl_or_sample(q, p, q.rsample()).mean().backward()
    if family == "beta":
        # A concentration near 0 is past the softplus' reach; the other one answers.
        pull = raw.grad[:, :DIM] if value > 0 else raw.grad[:, DIM : 2 * DIM]
        assert (pull.sum(0) > 0).all()
    else:
        assert (raw.grad[:, :DIM].sum(0) * value > 0).all()


@pytest.mark.parametrize("name", ["uniform", "rotated"])
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_pyro_scores_a_saturated_draw_by_its_own_logit(elbo, name):
    """Through plates, traces and replay the draw must stay the tensor that the map remembers."""
    prior = make_prior(name, DIM)
    posterior = prior.posterior("logit-normal")
    raw = torch.cat([torch.full((4, DIM), 100.0), torch.zeros(4, DIM)], -1).requires_grad_()

    def model():
        with pyro.plate("data", 4):
            pyro.sample("c", prior())

    def guide():
        with pyro.plate("data", 4):
            pyro.sample("c", posterior(raw))

    elbo(num_particles=10, vectorize_particles=True).differentiable_loss(model, guide).backward()
    # KL grows as |y|, and y is raw times the scale at raw 0.
    torch.testing.assert_close(raw.grad[:, :DIM], torch.full((4, DIM), 1.7488007394))


def train(prior, posterior, steps, copies):
    """Trains q(c|x) by overshooting steps, to read c exactly and to forget it, by turns.

    So many copies of the guide, each with weights and draws of its own, take each step together.
    Returns the number of numbers that were not finite, and the raw numbers' extremes.
    """
    encoders = [torch.nn.Linear(2 * DIM, posterior.num_raw) for _ in range(copies)]
    weight = torch.stack([e.weight.detach().t() for e in encoders]).requires_grad_()
    bias = torch.stack([e.bias.detach() for e in encoders]).unsqueeze(1).requires_grad_()
    parameters = [weight, bias, *prior.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1.0)
    bad = torch.zeros(())
    extremes = []
    for step in range(steps):
        p = prior()
        code = p.rsample((copies, 16))
        raw = torch.cat([code, torch.randn(copies, 16, DIM)], -1) @ weight + bias
        q = posterior(raw)
        draw = q.rsample()
        kl = kl_or_sample(q, p, draw)
        information = q.log_prob(code) - p.log_prob(code)
        loss = (kl - 5 * math.sin(step / 50) * information.clamp(min=-1e4)).mean(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        for x in (loss, draw, code, raw, *(x.grad for x in parameters)):
            bad += x.isfinite().logical_not().sum()
        optimizer.step()
        extremes += [raw.min().item(), raw.max().item()]
    for parameter in parameters:
        bad += parameter.isfinite().logical_not().sum()
    return bad.item(), min(extremes), max(extremes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_no_nan_in_20000_training_steps(name, family):
    """40 guides for 500 steps, in which the information is sought and shunned by turns."""
    prior = make_prior(name, DIM)
    bad, lowest, highest = train(prior, prior.posterior(family), 500, copies=40)
    assert bad == 0
    assert (lowest < -100, highest > 100) == (True, True)  # it did go far


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_forward_needs_no_host_and_makes_no_tensor_elsewhere(name, family):
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with no_validation(), fake.FakeTensorMode():
        with torch.device("cuda"):
            prior = make_prior(name, DIM)
            posterior = prior.posterior(family)
            raw, probability = torch.empty(5, posterior.num_raw), torch.empty(7)
        p, q = prior(), posterior(raw)
        value, code = q.rsample(), p.rsample((5,))
        outputs = [
            value,
            code,
            q.log_prob(value),
            q.log_prob(code),
            p.log_prob(value),
            kl_or_sample(q.expand((5,)), p.expand((5,)), value),
            prior.quantile(probability),
            prior.quantile(probability, code[0]),
        ]
        assert all(x.device.type == "cuda" for x in outputs)


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_a_training_step_on_the_meta_device(name, family):
    with no_validation():
        prior = make_prior(name, DIM).to("meta")
        posterior = prior.posterior(family)
        raw = torch.nn.Parameter(torch.empty(5, posterior.num_raw, device="meta"))
        optimizer = torch.optim.Adam([raw, *prior.parameters()])
        p, q = prior(), posterior(raw)
        value = q.rsample()
        loss = kl_or_sample(q, p, value).sum() - q.log_prob(p.rsample((5,))).sum()
        loss = loss + value.sum()
        if family == "beta":  # torch has no derivative of gamma draws there
            assert loss.device.type == "meta"
            return
        loss.backward()
        optimizer.step()
        assert raw.grad.device.type == "meta"


def test_the_sampled_kl_of_a_learnt_prior_moves_it():
    prior = make_prior("mixture", 1, components=2)
    q = dist.Normal(torch.tensor([3.0]), torch.tensor([0.2])).to_event(1)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(300):
        value = q.sample((32,))
        loss = (q.log_prob(value) - prior().log_prob(value)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert abs(prior().mean.item() - 3) < 0.2


def test_a_category():
    prior = CategoricalPrior(10)
    p = prior()
    assert (p.batch_shape, p.event_shape) == ((), (10,))
    torch.testing.assert_close(p.probs, torch.full((10,), 0.1))
    assert prior.double()().sample().dtype == F64
    assert prior.bfloat16()().sample().dtype == F32
    posterior = CategoricalPrior(10).posterior()
    assert (posterior.name, posterior.dim, posterior.num_raw) == ("gumbel", 10, 10)
    q = posterior(torch.randn(7, 10))
    assert (q.batch_shape, q.event_shape) == ((7,), (10,))
    assert q.has_rsample
    assert kl_divergence(q, CategoricalPrior(10)().expand((7,))).shape == (7,)
    zero = posterior(torch.zeros(10, dtype=torch.float16))
    assert zero.probs.dtype == F32
    assert kl_divergence(zero, CategoricalPrior(10)()) == 0
    with pytest.raises(ValueError, match="at least 2 categories, found 1"):
        CategoricalPrior(1)
    with pytest.raises(ValueError, match="no posterior 'normal' fits CategoricalPrior"):
        CategoricalPrior(2).posterior("normal")
    with pytest.raises(NotImplementedError, match="categories have no order"):
        CategoricalPrior(2).quantile(torch.tensor(0.5))
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with no_validation(), fake.FakeTensorMode():
        with torch.device("cuda"):
            prior, raw = CategoricalPrior(10), torch.empty(5, 10)
        q = prior.posterior()(raw)
        outputs = [
            q.rsample(),
            prior().sample((5,)),
            q.log_prob(q.sample()),
            kl_divergence(q, prior()),
        ]
        assert all(x.device.type == "cuda" for x in outputs)


def test_two_options_of_one_prior():
    assert isinstance(make_prior("uniform", 2, low=0, high=3)().base_dist, IntervalUniform)
    assert make_prior("uniform", 2).posterior().name == "logit-normal"
    assert make_prior("laplace", 2).posterior().name == "laplace"


def test_errors_say_what_to_write():
    with pytest.raises(ValueError, match="unknown prior 'normal': expected one of gaussian, unif"):
        make_prior("normal", 2)
    with pytest.raises(
        ValueError, match="no posterior 'normal' fits UniformPrior: expected one of logit-normal, b"
    ):
        make_prior("uniform", 2).posterior("normal")
    for name in PRIORS:
        with pytest.raises(ValueError, match="dim must be at least 1, found 0"):
            make_prior(name, 0)
    with pytest.raises(ValueError, match="low < high, found low=1, high=-1"):
        make_prior("uniform", 2, low=1, high=-1)
    for name in ("gaussian", "laplace"):
        with pytest.raises(ValueError, match="scale must be a finite number, above 0, found 0"):
            make_prior(name, 2, scale=0.0)
    for distance in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"above 0 and below 1, found {distance}"):
            make_prior("bimodal", 2, distance=distance)
    with pytest.raises(ValueError, match=r"dim must be even, .* in pairs, found 3"):
        make_prior("rotated", 3)
    with pytest.raises(ValueError, match="expected one of probit-normal, full-probit-normal"):
        make_prior("probit", 2).posterior("normal")
    with pytest.raises(ValueError, match="components must be at least 1, found 0"):
        make_prior("mixture", 2, components=0)
    with pytest.raises(TypeError, match="low"):
        make_prior("gaussian", 2, low=0.0)
    with pytest.raises(
        ValueError,
        match=r"'beta' posterior of 2 dimensions .* \(\.\.\., 4\), found \(5, 2\)",
    ):
        make_prior("uniform", 2).posterior("beta")(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"found \(\)"):
        make_prior("gaussian", 2).posterior()(torch.zeros(()))
