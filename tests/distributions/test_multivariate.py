"""Full covariances, turned pairs and one-hot categories, against known answers."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

from pyro_mivae.distributions import (
    CorrelatedNormal,
    CorrelatedSquashedNormal,
    GumbelOneHot,
    IntervalBeta,
    IntervalUniform,
    LogitNormal,
    ProbitNormal,
    RotatedPairs,
    RotatePairs,
)

pytestmark = pytest.mark.usefixtures("float64")

DIM = 4


def factor(*batch):
    lower = torch.randn(*batch, DIM, DIM).tril(-1)
    return lower + torch.diag_embed(0.2 + torch.rand(*batch, DIM))


def correlated(*batch):
    return CorrelatedNormal(torch.randn(*batch, DIM), factor(*batch))


def squashed(kind, *batch, low=-1, high=1):
    return CorrelatedSquashedNormal(correlated(*batch), kind, low, high)


def rotated(a, b, low=-1.0, high=1.0):
    return RotatedPairs(IntervalBeta(a, b, low, high).to_event(1), low, high)


def diamond(dim=DIM, low=-1.0, high=1.0, **kwargs):
    uniform = IntervalUniform(low, high, torch.zeros(dim), **kwargs).to_event(1)
    return RotatedPairs(uniform, low, high, **kwargs)


def test_kl_of_a_correlated_normal_to_independent_normals():
    q, loc, scale = correlated(6), torch.randn(DIM), torch.rand(DIM) + 0.5
    p = dist.Normal(loc, scale).to_event(1)
    expected = kl_divergence(
        torch.distributions.MultivariateNormal(q.loc, scale_tril=q.scale_tril),
        torch.distributions.MultivariateNormal(loc, scale_tril=torch.diag(scale)),
    )
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(q.expand((2, 6)), p.expand((2, 6)))[1], expected)
    # Without correlation, it is that of the factorised family.
    alone = CorrelatedNormal(q.loc, torch.diag_embed(q.scale_tril.diagonal(dim1=-2, dim2=-1)))
    each = kl_divergence(dist.Normal(alone.loc, alone.stddev).to_event(1), p)
    torch.testing.assert_close(kl_divergence(alone, p), each)


@pytest.mark.parametrize("low", [-1.0, 5.0])
def test_kl_of_squashed_normals_is_that_of_the_normals(low):
    q = squashed(ProbitNormal, 6, low=low, high=low + 2)
    zero = torch.zeros(DIM)
    p = ProbitNormal(zero, 1 + zero, low, low + 2).to_event(1)
    expected = kl_divergence(q.base_dist, dist.Normal(zero, 1 + zero).to_event(1))
    torch.testing.assert_close(kl_divergence(q, p), expected)
    with pytest.raises(NotImplementedError):  # no closed form
        kl_divergence(squashed(LogitNormal, 6), IntervalUniform(-1, 1, zero).to_event(1))
    for other in (p.base_dist, ProbitNormal(zero, 1 + zero, low, low + 3).to_event(1)):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, other)


@pytest.mark.parametrize("prior", ["laplace", "uniform"])
def test_kl_of_many_draws(prior):
    if prior == "laplace":
        q, p = correlated(5), dist.Laplace(torch.ones(DIM), 0.7).to_event(1)
    else:
        q, p = squashed(ProbitNormal, 5), ProbitNormal(torch.zeros(DIM), torch.ones(DIM), -1, 1)
        p = p.to_event(1)
    value = q.sample((50_000,))
    gap = q.log_prob(value) - p.log_prob(value)
    error = gap.std(0) / math.sqrt(len(gap))
    assert ((kl_divergence(q, p) - gap.mean(0)).abs() < 5 * error).all()


def test_total_correlation():
    q = correlated(6)
    covariance = q.covariance_matrix
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    expected = 0.5 * (diagonal.log().sum(-1) - torch.logdet(covariance))
    torch.testing.assert_close(q.total_correlation, expected)
    assert (expected > 0.1).all()
    assert squashed(LogitNormal, 2).total_correlation.shape == (2,)


@pytest.mark.parametrize("kind", [LogitNormal, ProbitNormal])
def test_squashed_normals_are_maps_of_the_normal(kind):
    q = squashed(kind, 3, low=2.0, high=5.0)
    assert (q.batch_shape, q.event_shape) == ((3,), (DIM,))
    value = q.sample((2000,))
    assert ((value > 2) & (value < 5)).all()
    x = q.transforms[0].inv(value.clone())
    slope = q.transforms[0].log_abs_det_jacobian(x, value).sum(-1)
    torch.testing.assert_close(q.log_prob(value.clone()), q.base_dist.log_prob(x) - slope)
    marginal = q.marginals
    assert type(marginal) is kind
    assert marginal.batch_shape == (3, DIM)
    for d in range(DIM):
        cdf = torch.special.ndtr((x[:, 0, d] - q.base_dist.loc[0, d]) / q.base_dist.stddev[0, d])
        torch.testing.assert_close(marginal.cdf(value)[:, 0, d], cdf)
        assert scipy.stats.kstest(cdf.numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("kind", [LogitNormal, ProbitNormal])
def test_saturated_draws_are_scored_exactly(kind):
    """By the normal that the map remembers, through a rotation as well."""
    loc = torch.full((DIM,), 60.0, requires_grad=True)
    squash = CorrelatedSquashedNormal(CorrelatedNormal(loc, factor()), kind, -1, 1)
    for q in (squash, RotatedPairs(squash, -1, 1)):
        value = q.rsample()
        x = squash.transforms[0]._cached_x_y[0]
        slope = squash.transforms[0].log_abs_det_jacobian(x, value).sum(-1)
        log_q = q.log_prob(value)
        torch.testing.assert_close(log_q, squash.base_dist.log_prob(x) - slope)
        (pull,) = torch.autograd.grad(log_q, loc)
        assert (pull > 0.5).all()
        assert q.log_prob(value.clone()) < log_q - 50  # of a copy little is known


@pytest.mark.parametrize(
    "q", [correlated(5), squashed(LogitNormal, 5), rotated(torch.ones(5, DIM), torch.ones(5, DIM))]
)
def test_protocol(q):
    wide = q.expand((3, 5))
    assert type(wide) is type(q)
    assert (wide.batch_shape, wide.event_shape) == ((3, 5), (DIM,))
    value = wide.rsample((2,))
    assert value.shape == (2, 3, 5, DIM)
    torch.testing.assert_close(wide.log_prob(value.clone()), q.log_prob(value.clone()))
    assert q.support.check(value).all()
    with pyro.plate("outer", 3, dim=-2), pyro.plate("inner", 5, dim=-1):
        assert pyro.sample("x", q).shape == (3, 5, DIM)
    with pyro.plate("inner", 5, dim=-1):
        trace = pyro.poutine.trace(lambda: pyro.sample("x", q)).get_trace()
    assert trace.nodes["x"]["fn"].batch_shape == (5,)


def test_a_plate_of_its_own_size_leaves_a_distribution_as_it_is():
    for q in (correlated(5), squashed(LogitNormal, 5), GumbelOneHot(torch.zeros(5, 3))):
        assert q.expand((5,)) is q
        assert q.expand((2, 5)) is not q


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (5.0, 7.5)])
def test_a_rotation_by_45_degrees(low, high):
    rotation = RotatePairs(low, high)
    centre, half = (low + high) / 2, (high - low) / 2
    corners = centre + half * torch.tensor([[1.0, 1, 1, -1], [-1.0, 1, 0, 0]])
    reach = half * math.sqrt(2)
    expected = centre + reach * torch.tensor([[0.0, 1, 1, 0], [-1.0, 0, 0, 0]])
    torch.testing.assert_close(rotation(corners), expected)
    x = torch.rand(7, DIM) * (high - low) + low
    y = rotation(x).clone()
    torch.testing.assert_close(rotation.inv(y), x)
    jacobian = torch.autograd.functional.jacobian(rotation._call, x[0])
    torch.testing.assert_close(jacobian @ jacobian.T, torch.eye(DIM))
    assert torch.linalg.slogdet(jacobian)[1].abs() < 1e-12
    assert rotation.log_abs_det_jacobian(x, y).tolist() == [0.0] * 7
    assert rotation == RotatePairs(low, high)
    assert rotation != RotatePairs(low, high + 1)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (5.0, 7.5), (0.1, 0.3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_turned_square_is_uniform(low, high, dtype):
    p = RotatedPairs(
        IntervalUniform(low, high, torch.zeros(DIM, dtype=dtype)).to_event(1), low, high
    )
    value = p.sample((20_000,))
    foreign = value.clone()  # scored by its inverse, rounding and all
    log_p = torch.full((20_000,), -DIM * math.log(high - low), dtype=dtype)
    torch.testing.assert_close(p.log_prob(foreign), log_p)
    assert p.support.check(foreign).all()
    centre, reach = (low + high) / 2, (high - low) / math.sqrt(2)
    triangle = scipy.stats.triang(0.5, centre - reach, 2 * reach)
    for d in range(DIM):
        assert scipy.stats.kstest(value[:, d].numpy(), triangle.cdf).pvalue > 1e-4
    inside = (value - centre).abs().reshape(-1, DIM // 2, 2).sum(-1)
    assert (inside <= reach * (1 + 1e-6)).all()
    assert float(inside.max()) > 0.99 * reach
    torch.testing.assert_close(p.mean, torch.full((DIM,), centre, dtype=dtype))
    torch.testing.assert_close(p.variance, torch.full((DIM,), (high - low) ** 2 / 12, dtype=dtype))
    assert np.abs(np.cov(value.numpy().T) / (high - low) ** 2 - np.eye(DIM) / 12).max() < 0.004


def test_the_variance_of_a_turned_pair_is_the_mean_of_both():
    half = torch.tensor([[0.1, 0.9, 1.0, 0.4], [1.0, 1.0, 0.2, 0.5]])
    q = RotatedPairs(dist.Uniform(-half, half).to_event(1), -1, 1)
    expected = torch.tensor([[0.82, 0.82, 1.16, 1.16], [2.0, 2.0, 0.29, 0.29]]) / 6
    torch.testing.assert_close(q.variance, expected)
    torch.testing.assert_close(q.expand((3, 2)).variance[1], expected)
    value = q.sample((20_000,))
    error = ((value.pow(4).mean(0) - expected**2) / 20_000).sqrt()
    assert ((value.pow(2).mean(0) - expected).abs() < 5 * error).all()


@pytest.mark.parametrize("make", [correlated, lambda: squashed(LogitNormal)])
def test_the_variance_of_a_turned_correlated_pair_is_an_error(make):
    words = (
        r"expected a base of independent dimensions, as Normal.* found Correlated\w*Normal, whose"
    )
    with pytest.raises(NotImplementedError, match=words):
        _ = RotatedPairs(make(), -1, 1).variance


def test_support_of_a_turned_square():
    p = diamond(2, validate_args=False)
    reach = math.sqrt(2)
    edge = torch.tensor([[reach, 0.0], [0.0, -reach], [reach / 2, reach / 2]])
    points = torch.tensor([[0.0, 1.4], [1.0, 1.0], [0.9, -0.9], [0.6, 0.6]])
    inside = [True, False, False, True]
    assert p.support.check(points).tolist() == inside
    assert p.support.check(edge).all()
    assert p.log_prob(edge).isfinite().all()
    assert p.log_prob(points).isfinite().tolist() == inside
    with pytest.raises(ValueError, match="support"):
        diamond(2).log_prob(points)
    with pytest.raises(ValueError, match=r"even number of dimensions.*event_shape \(3,\)"):
        diamond(3)
    with pytest.raises(ValueError, match=r"found event_shape \(\)"):
        RotatedPairs(IntervalUniform(-1, 1, torch.zeros(4)), -1, 1)


def test_kl_of_turned_pairs_is_that_of_what_is_turned():
    a, b = torch.rand(5, DIM) + 0.5, torch.rand(5, DIM) + 0.5
    q, p = rotated(a, b), diamond()
    expected = kl_divergence(q.base_dist, p.base_dist)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(q.expand((2, 5)), p.expand((2, 5)))[0], expected)
    value = q.sample((50_000,))
    gap = q.log_prob(value) - p.log_prob(value.clone())
    assert ((expected - gap.mean(0)).abs() < 5 * gap.std(0) / math.sqrt(50_000)).all()
    for other in (diamond(low=-2.0), p.base_dist):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, other)
    draws = value.reshape(-1, 5, DIM)
    assert ((q.mean - draws.mean(0)).abs() < 5 * draws.std(0) / math.sqrt(50_000)).all()


def test_boxes_around_turned_boxes():
    """Against all corners."""
    rotation = RotatePairs(1.0, 4.0)
    low, high = torch.randn(DIM), torch.randn(DIM).abs() + 2
    choices = torch.cartesian_prod(*([torch.tensor([0.0, 1.0])] * DIM))
    corners = low + choices * (high - low)
    for box, turn in ((rotation.box, rotation._call), (rotation.box_back, rotation._turn_back)):
        found = box(low, high)
        torch.testing.assert_close(found[0], turn(corners).amin(0))
        torch.testing.assert_close(found[1], turn(corners).amax(0))
        ends = box(torch.tensor(-math.inf), torch.tensor(math.inf))
        assert [end.tolist() for end in ends] == [[-math.inf] * 2, [math.inf] * 2]


LOGITS = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, -30.0]], dtype=torch.float64)


def test_a_category_is_one_hot_and_distributed_as_its_logits():
    q = GumbelOneHot(LOGITS)
    plain = dist.OneHotCategorical(logits=LOGITS)
    for draw in (q.sample, q.rsample):
        value = draw((20_000,))
        assert value.shape == (20_000, 2, 3)
        assert set(value.unique().tolist()) == {0.0, 1.0}
        assert (value.sum(-1) == 1).all()
        error = (plain.variance / 20_000).sqrt()
        assert ((value.mean(0) - plain.probs).abs() <= 5 * error + 1e-12).all()
        torch.testing.assert_close(q.log_prob(value), plain.log_prob(value))
    assert q.has_rsample
    uniform = GumbelOneHot(torch.zeros(3))
    kl = math.log(3) - plain.entropy()
    torch.testing.assert_close(kl_divergence(q, uniform.expand((2,))), kl)
    with pytest.raises(ValueError, match="temperature must be a finite number, above 0, found 0"):
        GumbelOneHot(LOGITS, temperature=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_gradient_of_a_category_is_the_soft_ones(temperature):
    """Of two categories: the difference of two Gumbels is logistic."""
    n, gap = 100_000, 0.8
    logits = torch.tensor([gap, 0.0]).expand(n, 2).clone().requires_grad_()
    GumbelOneHot(logits, temperature=temperature).expand((n,)).rsample()[:, 0].sum().backward()
    soft = scipy.stats.logistic

    def slope(noise):
        return soft.pdf((gap + noise) / temperature) / temperature * soft.pdf(noise)

    expected, _ = scipy.integrate.quad(slope, -30, 30)
    found = logits.grad[:, 0]
    assert abs(found.mean() - expected) < 5 * found.std() / math.sqrt(n)
    torch.testing.assert_close(logits.grad[:, 1], -found)
    # Biased: the gradient of the probability itself is another.
    assert abs(expected - soft.pdf(gap)) > 0.01


@pytest.mark.parametrize("base", [TraceEnum_ELBO(), TraceMeanField_ELBO(), Trace_ELBO()])
def test_pyro_sums_a_category_out_or_draws_it(base):
    """The expected cost under q, exact and with its exact gradient where it is enumerated."""
    cost = torch.tensor([1.0, -2.0, 0.5])
    logits = LOGITS[0].clone().requires_grad_()

    def model():
        d = pyro.sample("d", GumbelOneHot(torch.zeros(3)))
        pyro.factor("cost", -(d * cost).sum(-1))

    def guide():
        infer = {"enumerate": "parallel"} if isinstance(base, TraceEnum_ELBO) else {}
        pyro.sample("d", GumbelOneHot(logits), infer=infer)

    probs = logits.softmax(-1)
    exact = (probs * (cost + probs.log() + math.log(3))).sum()
    (slope,) = torch.autograd.grad(exact, logits)
    if isinstance(base, TraceEnum_ELBO):
        base.max_plate_nesting = 0
        loss = base.differentiable_loss(model, guide)
        torch.testing.assert_close(loss, exact)
        torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], slope)
        return
    losses = torch.tensor([base.loss(model, guide) for _ in range(1000)])
    assert abs(losses.mean() - exact) <= 5 * losses.std() / math.sqrt(1000) + 1e-9


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], requires_grad=True)
    q = GumbelOneHot(logits)
    value = q.rsample((50,))
    every = torch.eye(3)[:, None]
    kl = kl_divergence(q, GumbelOneHot(torch.zeros(3)).expand((2,)))
    for output in (value, q.log_prob(value), q.log_prob(every), kl):
        assert output.isfinite().all()
        (gradient,) = torch.autograd.grad(output.sum(), logits, retain_graph=True)
        assert gradient.isfinite().all()
