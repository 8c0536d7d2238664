import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch.distributions import kl_divergence

from pyro_mivae.distributions import (
    IntervalBeta,
    IntervalProbit,
    IntervalSigmoid,
    IntervalUniform,
    LogitNormal,
    ProbitNormal,
    posterior_mean,
)
from pyro_mivae.distributions.interval import interior
from pyro_mivae.distributions.mixture import NormalMixture

pytestmark = pytest.mark.usefixtures("one_thread")

F32, F64 = torch.float32, torch.float64
INTERVALS = [(-1, 1), (0, 1), (-1, 0), (5, 6), (-1000, 1000), (0.1, 0.3), (-1e-3, 7e5)]


def t(*values, dtype=F64):
    return torch.tensor(values, dtype=dtype)


def uniform(low=-1.0, high=1.0, shape=(), dtype=F64):
    return IntervalUniform(low, high, torch.empty(shape, dtype=dtype))


def mixture(dtype=F64):
    """Unequal weights, an overlapping pair, one far away."""
    return NormalMixture(
        t(0.3, -0.5, 0.1, dtype=dtype),
        t(-1.0, 0.2, 4.0, dtype=dtype),
        t(0.7, 1.5, 0.3, dtype=dtype),
    )


def cases():
    """Name, distribution (scalar), its scipy twin as (logpdf, cdf or None), its interval."""
    logit = lambda c, low, high: np.log(c - low) - np.log(high - c)  # noqa: E731
    for low, high in [(-1.0, 1.0), (5.0, 6.0), (0.0, 1.0)]:
        twin = scipy.stats.uniform(low, high - low)
        yield f"uniform{low, high}", uniform(low, high), twin.logpdf, twin.cdf, (low, high)
        for a, b in [(2.5, 0.7), (0.3, 0.4), (1.0, 1.0), (30.0, 50.0)]:
            twin = scipy.stats.beta(a, b, low, high - low)
            beta = IntervalBeta(torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64), low, high)
            yield f"beta{low, high, a, b}", beta, twin.logpdf, twin.cdf, (low, high)
        for loc, scale in [(0.0, 1.7), (-2.0, 0.3)]:
            base = scipy.stats.norm(loc, scale)
            squeezed = LogitNormal(
                torch.tensor(loc, dtype=F64), torch.tensor(scale, dtype=F64), low, high
            )

            def logpdf(c, base=base, low=low, high=high):
                jacobian = np.log(c - low) + np.log(high - c) - np.log(high - low)
                return base.logpdf(logit(c, low, high)) - jacobian

            def cdf(c, base=base, low=low, high=high):
                return base.cdf(logit(c, low, high))

            yield f"logit-normal{low, high, loc, scale}", squeezed, logpdf, cdf, (low, high)
        for loc, scale in [(0.0, 1.0), (-2.0, 0.3), (0.7, 2.0)]:
            base = scipy.stats.norm(loc, scale)
            pushed = ProbitNormal(
                torch.tensor(loc, dtype=F64), torch.tensor(scale, dtype=F64), low, high
            )

            def logpdf(c, base=base, low=low, high=high):
                y = scipy.stats.norm.ppf((c - low) / (high - low))
                return base.logpdf(y) - scipy.stats.norm.logpdf(y) - np.log(high - low)

            def cdf(c, base=base, low=low, high=high):
                return base.cdf(scipy.stats.norm.ppf((c - low) / (high - low)))

            yield f"probit-normal{low, high, loc, scale}", pushed, logpdf, cdf, (low, high)
    q = mixture()
    weights = q.logits.softmax(-1).numpy()
    parts = [scipy.stats.norm(m, s) for m, s in zip(q.loc.numpy(), q.scale.numpy(), strict=True)]

    def mixed(name):
        return lambda z: sum(w * getattr(p, name)(z) for w, p in zip(weights, parts, strict=True))

    yield "mixture", q, lambda z: np.log(mixed("pdf")(z)), mixed("cdf"), (-12.0, 12.0)


CASES = list(cases())
IDS = [case[0] for case in CASES]


@pytest.mark.parametrize(("name", "d", "logpdf", "cdf", "interval"), CASES, ids=IDS)
def test_density_is_scipys_and_integrates_to_one(name, d, logpdf, cdf, interval):
    low, high = interval
    grid = torch.linspace(low, high, 203, dtype=F64)[1:-1]
    np.testing.assert_allclose(d.log_prob(grid), logpdf(grid.numpy()), rtol=1e-10, atol=1e-10)
    # In the logit (a Beta's density may be infinite at the edges), as far as c has digits.
    sigmoid = IntervalSigmoid(low, high)

    def integrand(y):
        y = torch.tensor(y, dtype=F64)
        return (d.log_prob(sigmoid(y)) + sigmoid.log_abs_det_jacobian(y, y)).exp().item()

    total = sum(scipy.integrate.quad(integrand, *ends)[0] for ends in [(-14, 0), (0, 14)])
    ends = sigmoid(t(-14.0, 14.0)).numpy()
    assert total == pytest.approx(cdf(ends[1]) - cdf(ends[0]), abs=1e-7)


@pytest.mark.parametrize(("name", "d", "logpdf", "cdf", "interval"), CASES, ids=IDS)
def test_draws_follow_the_density(name, d, logpdf, cdf, interval):
    draws = d.sample((20_000,)).numpy()
    assert scipy.stats.kstest(draws, cdf).pvalue > 1e-4
    assert d.rsample((3,)).shape == (3,)


@pytest.mark.parametrize(("name", "d", "logpdf", "cdf", "interval"), CASES, ids=IDS)
def test_cdf_and_quantile(name, d, logpdf, cdf, interval):
    if isinstance(d, IntervalBeta):
        return  # torch has neither
    p = torch.linspace(0, 1, 101, dtype=F64)[1:-1]
    q = d.icdf(p)
    assert (q.diff() > 0).all()
    np.testing.assert_allclose(d.cdf(q), p, rtol=1e-9)
    np.testing.assert_allclose(cdf(q.numpy()), p, rtol=1e-9)


@pytest.mark.parametrize(("name", "d", "logpdf", "cdf", "interval"), CASES, ids=IDS)
def test_moments(name, d, logpdf, cdf, interval):
    draws = d.sample((50_000,))
    assert abs(posterior_mean(d) - draws.mean()) < 5 * draws.std() / math.sqrt(len(draws))
    if isinstance(d, LogitNormal):
        with pytest.raises(NotImplementedError):
            _ = d.mean
        return
    if not isinstance(d, IntervalBeta):
        error = (draws - draws.mean()).square().std() / math.sqrt(len(draws))
        assert abs(d.variance - draws.var()) < 5 * error


def test_the_mean_of_a_logit_normal_by_quadrature():
    loc, scale = torch.tensor([0.0, 40.0, 1.0]), torch.tensor([1.3, 1.0, 0.8])
    q = LogitNormal(loc, scale, -1, 2)
    found = posterior_mean(q.to_event(1))
    y = np.linspace(-9, 11, 200_001)
    density = np.exp(-0.5 * ((y - 1) / 0.8) ** 2) / (0.8 * math.sqrt(2 * math.pi))
    last = scipy.integrate.trapezoid(density * (-1 + 3 / (1 + np.exp(-y))), y)
    # By symmetry, at an edge, and by the trapezoidal rule.
    assert found.tolist() == pytest.approx([0.5, 2.0, last], abs=1e-6)
    assert found.dtype == F32
    beta = IntervalBeta(torch.ones(2), 2 * torch.ones(2), -1, 2).to_event(1)
    assert torch.equal(posterior_mean(beta), beta.mean)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_draws_stay_strictly_inside(low, high, dtype, monkeypatch):
    first, last = interior(low, high, dtype)
    as_tensor = torch.tensor([low, first, last, high], dtype=dtype)
    assert (as_tensor.diff() > 0).all()
    # Edges of what torch.rand can give, then ordinary draws.
    rand_like = torch.rand_like
    for edge in (0.0, 1 - torch.finfo(dtype).eps / 2, None):
        with monkeypatch.context() as patch:
            if edge is not None:
                patch.setattr(torch, "rand_like", lambda x, e=edge: torch.full_like(x, e))
            else:
                assert torch.rand_like is rand_like
            u = uniform(low, high, (1000,), dtype)
            c = u.sample()
            assert ((c > low) & (c < high)).all()
            assert u.log_prob(c).isfinite().all()
            for size in (1e-2, 1.0, 1e4):
                a = torch.full((1000,), size, dtype=dtype)
                beta = IntervalBeta(a, a, low, high)
                own = beta.rsample()
                for value in (c, own):
                    assert ((value > low) & (value < high)).all()
                    assert beta.log_prob(value).isfinite().all()
    edges = uniform(low, high, dtype=dtype).icdf(torch.tensor([0.0, 1.0], dtype=dtype))
    assert ((edges > low) & (edges < high)).all()
    for loc in (-1e4, -100.0, -17.0, 0.0, 17.0, 100.0, 1e4):
        for kind in (LogitNormal, ProbitNormal):
            q = kind(torch.tensor(loc, dtype=dtype), torch.tensor(2.0, dtype=dtype), low, high)
            own = q.rsample((1000,))
            for value in (c, own):
                assert ((value > low) & (value < high)).all()
                assert q.log_prob(value).isfinite().all()
                assert u.log_prob(value).isfinite().all()


def test_uniform_scores_its_edges_and_nothing_beyond():
    u = IntervalUniform(-1, 1, torch.zeros((), dtype=F64), validate_args=False)
    expected = [-math.inf, -math.log(2), -math.log(2), -math.log(2), -math.inf]
    assert u.log_prob(t(-1.1, -1.0, 0.3, 1.0, 1.1)).tolist() == expected
    with pytest.raises(ValueError, match="support"):
        uniform().log_prob(t(1.1))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("loc", [-1e4, -100.0, 100.0, 1e4])
def test_saturated_draws_keep_an_exact_density_and_its_gradient(loc, dtype):
    loc = torch.tensor(loc, dtype=dtype, requires_grad=True)
    q = LogitNormal(loc, torch.ones((), dtype=dtype), -1, 1)
    value = q.rsample()
    y = q.transforms[0]._cached_x_y[0]
    # log q = log N(y) - log 2 - log sigmoid(y) - log sigmoid(-y), and the last two make |y|.
    expected = -0.5 * ((y - loc) ** 2 + math.log(2 * math.pi)) - math.log(2) + y.abs()
    log_q = q.log_prob(value)
    torch.testing.assert_close(log_q, expected)
    assert value.abs() < 1
    # Minimised as in a KL, it pulls y back to 0 although the draw itself has no gradient left.
    (log_q - uniform(dtype=dtype).log_prob(value)).backward()
    assert loc.grad == loc.sign()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("loc", [-1e4, -100.0, 100.0, 1e4])
def test_saturated_probit_draws_too(loc, dtype):
    loc = torch.tensor(loc, dtype=dtype, requires_grad=True)
    q = ProbitNormal(loc, torch.ones((), dtype=dtype), -1, 1)
    value = q.rsample()
    y = q.transforms[0]._cached_x_y[0]
    # log N(y; loc, 1) - log N(y; 0, 1) - log 2.
    expected = 0.5 * (y**2 - (y - loc) ** 2) - math.log(2)
    log_q = q.log_prob(value)
    torch.testing.assert_close(log_q, expected)
    assert value.abs() < 1
    (log_q - uniform(dtype=dtype).log_prob(value)).backward()
    torch.testing.assert_close(loc.grad, y.detach())


def test_probit_tails_in_float32():
    """Next to the edge 0 single precision has all its digits, next to 1 those of 1 - c."""
    for dtype, rtol in ((F32, 2e-5), (F64, 1e-12)):
        q = ProbitNormal(t(0.5, dtype=dtype), t(1.5, dtype=dtype), 0, 1)
        c = t(1e-30, 1e-15, 1e-7, 1e-3, 0.5, dtype=dtype)
        y = scipy.stats.norm.ppf(c.double().numpy())
        expected = scipy.stats.norm.logpdf(y, 0.5, 1.5) - scipy.stats.norm.logpdf(y)
        np.testing.assert_allclose(q.log_prob(c), expected, rtol=rtol)
        # The map itself, too: a CDF of 1e-30 is not 0.
        mapped = IntervalProbit(0, 1)(torch.tensor(y, dtype=dtype))
        np.testing.assert_allclose(mapped, c, rtol=100 * rtol)
        mirrored = IntervalProbit(-1, 0)(torch.tensor(-y, dtype=dtype))
        np.testing.assert_allclose(mirrored, -c, rtol=100 * rtol)


def test_gradient_of_the_probit_at_the_centre():
    """Both halves of the map meet at 0, where every guide starts."""
    y = t(-1e-9, 0.0, 1e-9).requires_grad_()
    IntervalProbit(-1, 1)(y).sum().backward()
    torch.testing.assert_close(y.grad, torch.full_like(y, 2 / math.sqrt(2 * math.pi)))


def test_only_draws_are_remembered():
    q = LogitNormal(torch.tensor(40.0), torch.tensor(1.0), -1, 1)
    own = q.rsample()
    exact = q.log_prob(own)
    foreign = torch.tensor(0.3)
    before = q.log_prob(foreign)
    assert q.log_prob(own) == exact
    assert q.log_prob(foreign) == before
    # A copy is a foreign value: its logit is only known to be at least 17.
    assert q.log_prob(own.clone()) < exact - 100


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (5, 6)])
def test_foreign_values_are_inverted(low, high, dtype):
    sigmoid = IntervalSigmoid(low, high)
    y = torch.linspace(-5, 5, 11, dtype=dtype)
    # One rounding of c, seen through the slope of the logit.
    slack = 4 * torch.finfo(dtype).eps * max(abs(low), abs(high)) * (2 + 2 * y.cosh())
    assert ((sigmoid.inv(sigmoid(y).clone()) - y).abs() <= slack).all()
    probit = IntervalProbit(low, high)
    y = torch.linspace(-3, 3, 11, dtype=dtype)
    density = (-0.5 * y**2).exp() / math.sqrt(2 * math.pi)
    slack = 4 * torch.finfo(dtype).eps * (1 + max(abs(low), abs(high)) / (high - low) / density)
    assert ((probit.inv(probit(y).clone()) - y).abs() <= slack).all()
    for squash in (sigmoid, probit):
        edges = squash.inv(torch.tensor([low, high], dtype=dtype))
        assert edges.isfinite().all()
        assert edges[0] < -4.5
        assert edges[1] > 4.5
    assert sigmoid == IntervalSigmoid(low, high)
    assert probit == IntervalProbit(low, high)
    assert sigmoid != probit
    assert probit != IntervalProbit(low, high + 1)


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.4, 0.9), (0.05, 5.0), (60.0, 40.0)])
def test_beta_gradients(a, b):
    """E[c] has a known gradient: the reparameterisation must be unbiased on both branches."""
    n = 100_000
    a, b = (torch.full((n,), x, dtype=F64, requires_grad=True) for x in (a, b))
    IntervalBeta(a, b, -1, 1).rsample().sum().backward()
    a0, b0 = a[0].item(), b[0].item()
    exact = 2 * b0 / (a0 + b0) ** 2, -2 * a0 / (a0 + b0) ** 2
    for grad, expected in zip((a.grad, b.grad), exact, strict=True):
        assert abs(grad.mean() - expected) < 5 * grad.std() / math.sqrt(n)


def test_mixture_gradients():
    """E[z^2] = sum_k w_k (loc_k^2 + scale_k^2), for every parameter."""
    n = 200_000
    q = mixture()
    parameters = {
        name: getattr(q, name).expand(n, 3).clone().requires_grad_()
        for name in ("logits", "loc", "scale")
    }
    draws = NormalMixture(**parameters).rsample()
    draws.square().sum().backward()
    w = q.logits.softmax(-1)
    second = q.loc**2 + q.scale**2
    exact = {
        "logits": w * (second - (w * second).sum()),
        "loc": 2 * w * q.loc,
        "scale": 2 * w * q.scale,
    }
    for name, parameter in parameters.items():
        error = parameter.grad.std(0) / math.sqrt(n)
        assert ((parameter.grad.mean(0) - exact[name]).abs() < 5 * error).all(), name
        assert (exact[name].abs() > 5 * error).any(), name  # the test can tell it from 0


def test_mixture_gradient_is_the_implicit_formula():
    q = mixture()
    parameters = [x.clone().requires_grad_() for x in (q.logits, q.loc, q.scale)]
    d = NormalMixture(*parameters)
    for _ in range(20):
        z = d.rsample()
        found = torch.autograd.grad(z, parameters)
        z = z.detach()
        density = d.log_prob(z).exp().detach()
        expected = [-g / density for g in torch.autograd.grad(d.cdf(z), parameters)]
        for x, y in zip(found, expected, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-8)


def test_one_normal_is_the_ordinary_reparameterisation():
    loc, scale = t(0.7).requires_grad_(), t(1.3).requires_grad_()
    z = NormalMixture(t(2.0), loc, scale).rsample((5,))
    z.sum().backward()
    torch.testing.assert_close(loc.grad, t(5.0))
    torch.testing.assert_close(scale.grad, ((z - 0.7) / 1.3).sum().detach().reshape(1))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("spread", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("logit", [0.0, 15.0, 100.0, 1e4])
def test_mixture_is_finite_in_float32(scale, spread, logit):
    parameters = [
        torch.tensor(x).requires_grad_()
        for x in ([-logit, 0.0, logit], [-spread, 0.0, spread], [scale, 1.0, scale])
    ]
    d = NormalMixture(*parameters)
    z = d.rsample((2000,))
    for value in (z, torch.tensor([-1e4, 1e4])):
        log_p = d.log_prob(value)
        assert log_p.isfinite().all()
        for gradient in torch.autograd.grad(log_p.sum(), parameters, retain_graph=True):
            assert gradient.isfinite().all()
    for gradient in torch.autograd.grad(z.sum(), parameters):
        assert gradient.isfinite().all()


def test_mixture_tail_gradients_in_float32():
    """Ten deviations out, 1 - F is 1e-23: a plain difference of CDFs would be 0."""
    out = []
    for dtype in (F32, F64):
        for sign in (-1, 1):
            logits = torch.zeros(2, dtype=dtype, requires_grad=True)
            d = NormalMixture(logits, t(0.0, 0.0, dtype=dtype), t(1.0, 1.2, dtype=dtype))
            d.sample = lambda shape=(), s=sign, dtype=dtype: torch.tensor(10.0 * s, dtype=dtype)
            out.append(torch.autograd.grad(d.rsample(), logits)[0].double())
    torch.testing.assert_close(out[0], out[2], rtol=1e-4, atol=0)
    torch.testing.assert_close(out[1], out[3], rtol=1e-4, atol=0)
    torch.testing.assert_close(out[0], -out[1])
    assert out[3][1] > 0.05


def test_mixture_gradient_where_the_density_underflows():
    logits = torch.zeros(2, requires_grad=True)
    d = NormalMixture(logits, torch.tensor([-1e4, 1e4]), torch.ones(2))
    d.sample = lambda shape=(): torch.zeros(())  # no draw ever gets there
    assert d.log_prob(d.sample()) < -1e7
    (gradient,) = torch.autograd.grad(d.rsample(), logits)
    assert gradient.square().isfinite().all()


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_mixture_quantile_far_apart(shift):
    d = NormalMixture(t(0.0, 0.0), t(-shift, shift), t(1.0, 0.01))
    p = t(0.001, 0.3, 0.499, 0.501, 0.7, 0.999)
    torch.testing.assert_close(d.cdf(d.icdf(p)), p, rtol=1e-9, atol=0)
    assert d.icdf(t(0.0, 1.0)).tolist() == [-math.inf, math.inf]


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (5, 6)])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (3.0, 0.5), (0.3, 0.4), (40.0, 70.0)])
def test_beta_kl_is_that_of_the_draws(a, b, low, high):
    a, b = torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)
    p, q = IntervalBeta(a, b, low, high), uniform(low, high)
    kl = kl_divergence(p, q)
    draws = p.sample((50_000,))
    sampled = p.log_prob(draws) - q.log_prob(draws)
    assert abs(kl - sampled.mean()) <= 5 * sampled.std() / math.sqrt(50_000) + 1e-12
    unit = kl_divergence(dist.Beta(a, b), dist.Uniform(torch.zeros_like(a), torch.ones_like(a)))
    torch.testing.assert_close(kl, unit)


def test_kl_shapes_and_other_intervals():
    a = torch.rand(4, 3, dtype=F64) + 0.5
    p, q = IntervalBeta(a, a, -1, 1), uniform(shape=(3,))
    kl = kl_divergence(p, q)
    assert kl.shape == (4, 3)
    summed = kl_divergence(p.to_event(1), q.to_event(1))
    torch.testing.assert_close(summed, kl.sum(-1))
    expanded = kl_divergence(p.to_event(1).expand((2, 4)), q.to_event(1).expand((2, 4)))
    torch.testing.assert_close(expanded, summed.expand(2, 4))
    assert kl_divergence(IntervalBeta(a[0, 0], a[0, 0], -1, 1), q).shape == (3,)
    for other in (uniform(-1, 2), uniform(0, 1)):
        with pytest.raises(NotImplementedError):
            kl_divergence(p, other)
    with pytest.raises(NotImplementedError):
        kl_divergence(LogitNormal(a, a, -1, 1), q)
    # One map for both: the KL of the logits.
    first, second = LogitNormal(a, a, -1, 1), LogitNormal(-a, a, -1, 1)
    expected = kl_divergence(dist.Normal(a, a), dist.Normal(-a, a))
    torch.testing.assert_close(kl_divergence(first, second), expected)
    with pytest.raises(NotImplementedError):
        kl_divergence(first, LogitNormal(-a, a, 0, 1))
    pushed = [ProbitNormal(a, a, -1, 1).to_event(1), ProbitNormal(-a, a, -1, 1).to_event(1)]
    torch.testing.assert_close(kl_divergence(*pushed), expected.sum(-1))
    with pytest.raises(NotImplementedError):
        kl_divergence(first, ProbitNormal(-a, a, -1, 1))


@pytest.mark.parametrize(("name", "d", "logpdf", "cdf", "interval"), CASES, ids=IDS)
def test_pyro_protocol(name, d, logpdf, cdf, interval):
    assert d.has_rsample
    wide = d.expand((4, 3))
    assert type(wide) is type(d)
    assert wide.batch_shape == (4, 3)
    assert wide._validate_args
    value = wide.rsample((2,))
    assert value.shape == (2, 4, 3)
    torch.testing.assert_close(wide.log_prob(value.clone()), d.log_prob(value.clone()))
    assert d.expand_by((5,)).batch_shape == (5,)
    event = wide.to_event(1)
    assert event.log_prob(value).shape == (2, 4)
    mask = torch.tensor([True, False, True])
    masked = wide.mask(mask).log_prob(value)
    torch.testing.assert_close(masked, wide.log_prob(value) * mask)
    assert d.support.check(value).all()
    if name != "mixture":
        assert (d.support.lower_bound, d.support.upper_bound) == interval
        with pytest.raises(ValueError, match="support"):
            d.log_prob(t(interval[1] + 0.1))
    with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 3, dim=-1):
        assert pyro.sample("x", d).shape == (4, 3)


def test_invalid_arguments():
    one = torch.ones(())
    for low, high in [(1, 1), (2, 1), (0, math.inf), (math.nan, 1)]:
        for make in (
            lambda low, high: IntervalUniform(low, high, one),
            lambda low, high: LogitNormal(one, one, low, high),
            lambda low, high: ProbitNormal(one, one, low, high),
            lambda low, high: IntervalBeta(one, one, low, high),
        ):
            with pytest.raises(ValueError, match=f"low < high, found low={low}, high={high}"):
                make(low, high)
    with pytest.raises(ValueError, match=r"\(1.0, 1.0000001\) holds fewer than two"):
        IntervalUniform(1, 1.0000001, one)
    with pytest.raises(TypeError, match=r"float32 or float64, found torch.bfloat16"):
        IntervalUniform(-1, 1, one.bfloat16())
    for make in (
        lambda: LogitNormal(one, -one, 0, 1),
        lambda: IntervalBeta(one, -one, 0, 1),
        lambda: NormalMixture(one.reshape(1), one.reshape(1), -one.reshape(1)),
    ):
        with pytest.raises(ValueError, match="constraint"):
            make()


@pytest.mark.parametrize("scale", [0.01, 0.9, 1.1, 5.0, 20.0, 1000.0])
@pytest.mark.parametrize("loc", [-8.0, -0.3, 0.0, 2.0, 40.0])
def test_the_mean_of_a_logit_normal_of_any_scale(loc, scale):
    def integrand(y):
        return scipy.special.expit(loc + scale * y) * scipy.stats.norm.pdf(y)

    step = float(np.clip(-loc / scale, -11, 11))
    expected = scipy.integrate.quad(integrand, -12, 12, points=[step], limit=2000)[0]
    q = LogitNormal(torch.tensor(loc).double(), torch.tensor(scale).double(), 2.0, 5.0)
    assert float(posterior_mean(q)) == pytest.approx(2 + 3 * expected, abs=1e-7)
