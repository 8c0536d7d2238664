"""The bounds against the published truth of `benchmark-mi` (Czyż et al. 2023, *Beyond Normal*).

bmi's X is the code z, its Y the data x. The tasks are all of `BENCHMARK_TASKS` but the Swiss roll:
it puts X on a curve in the plane, where neither p(z) nor p(x) given Y is a density. The mixtures
that bmi has besides (X, AI, waves, galaxy, inliers) have no exact truth, only an estimate.

Its pins (pandas < 2) rule out ours, but it runs on newer releases: install equinox, 'jax<0.7',
optax, pydantic, pyyaml and tensorflow-probability, then `pip install --no-deps benchmark-mi`.
"""

import functools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch.distributions import constraints, transforms

from pyro_mivae.information import sandwich

bmi = pytest.importorskip("bmi", reason="benchmark-mi is not installed, see the head of this file")
pytestmark = pytest.mark.usefixtures("float64")

SIZE, N, K = 4000, 3000, 100  # to compare, and for the bounds
TASKS = bmi.benchmark.BENCHMARK_TASKS
ADDITIVE = [name for name in TASKS if "additive" in name]
ELLIPTICAL = [name for name in TASKS if name not in ADDITIVE and "swissroll" not in name]


def bisect(increasing):
    """The inverse on [-10, 10]."""

    def inverse(y):
        low, high = torch.full_like(y, -10.0), torch.full_like(y, 10.0)
        for _ in range(40):
            middle = (low + high) / 2
            below = increasing(middle) < y
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    return inverse


class Increasing(transforms.Transform):
    """A function of every coordinate, with its inverse."""

    domain = codomain = constraints.real
    bijective, sign = True, 1

    def __init__(self, function, inverse=None):
        super().__init__(cache_size=1)
        self._call, self._inverse = function, inverse or bisect(function)

    def log_abs_det_jacobian(self, x, y):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self._call(x).sum(), x)[0].log()


class Spiral(transforms.Transform):
    """Turns two coordinates by |x|^2 times the speed, which keeps |x| and volumes."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, first, speed):
        super().__init__()
        self.first, self.speed = first, speed

    def _call(self, x, sign=1):
        angle = sign * self.speed * x.square().sum(-1)
        i, j = self.first, self.first + 1
        turned = x.clone()
        turned[..., i] = angle.cos() * x[..., i] - angle.sin() * x[..., j]
        turned[..., j] = angle.sin() * x[..., i] + angle.cos() * x[..., j]
        return turned

    def _inverse(self, y):
        return self._call(y, sign=-1)

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros(x.shape[:-1])


def wiggly_x(x):
    return x + 0.4 * x.sin() + 0.2 * (1.7 * x + 1).sin() + 0.03 * (3.3 * x - 2.5).sin()


def wiggly_y(x):
    return x - 0.4 * (0.4 * x).sin() + 0.17 * (1.3 * x + 3.5).sin() + 0.02 * (4.3 * x - 2.5).sin()


def bimodal(weight, first, second):
    """From the normal to a mixture of two."""

    def to_normal(x):
        one, other = torch.special.ndtr(x - first), torch.special.ndtr(x - second)
        return torch.special.ndtri(weight * one + (1 - weight) * other)

    return Increasing(to_normal).inv


CDF = Increasing(torch.special.ndtr, torch.special.ndtri)
CUBE = Increasing(lambda x: x * x.abs().sqrt(), lambda y: y.sign() * y.abs() ** (2 / 3))
ASINH = Increasing(torch.asinh, torch.sinh)
# What bmi applies to X and to Y, by a word in the task's name.
MAPS = {
    "normal_cdf": lambda dim: (CDF, CDF),
    "half_cube": lambda dim: (CUBE, CUBE),
    "asinh": lambda dim: (ASINH, ASINH),
    "wiggly": lambda dim: (Increasing(wiggly_x), Increasing(wiggly_y)),
    "bimodal": lambda dim: (bimodal(0.3, 0.0, 5.0), bimodal(0.5, -1.0, 3.0)),
    "spiral": lambda dim: (Spiral(0, 1 / dim), Spiral(1, 1 / dim)),
}


def dispersion_of(task):
    """Of X and Y together, before the maps."""
    dim, params = task.dim_x, task.params
    if "covariance" in params:
        return torch.tensor(params["covariance"])
    dispersion = torch.eye(2 * dim)
    if "dof" not in params:
        strength = params.get("strength", 0.0) ** 2
        correlation = params.get("gaussian_correlation", strength / (1 + strength))
        pairs = torch.arange(params.get("n_interacting", 1))
        dispersion[pairs, dim + pairs] = dispersion[dim + pairs, pairs] = correlation
    return dispersion


def elliptical(loc, scale_tril, dof):
    """A normal distribution, or Student's with `dof`."""
    if dof is None:
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)
    return dist.MultivariateStudentT(dof, loc, scale_tril)


def conditional(given, dispersion, dof, wider=1.0):
    """Of the second half of the coordinates, given the first."""
    dim = given.shape[-1]
    first, cross, second = dispersion[:dim, :dim], dispersion[dim:, :dim], dispersion[dim:, dim:]
    weights = cross @ first.inverse()
    scale_tril = wider * torch.linalg.cholesky(second - weights @ cross.mT)
    if dof is None:
        return elliptical(given @ weights.mT, scale_tril, None)
    spread = ((dof + ((given @ first.inverse()) * given).sum(-1)) / (dof + dim)).sqrt()
    return elliptical(given @ weights.mT, spread[..., None, None] * scale_tril, dof + dim)


def elliptical_pair(task):
    """Model and guide: the exact posterior, but for its scale."""
    dim, dof, dispersion = task.dim_x, task.params.get("dof"), dispersion_of(task)
    swapped = dispersion.roll((dim, dim), (0, 1))
    words = [word for word in reversed(task.id.split("-")) if word in MAPS]
    parts = [MAPS[word](dim) for word in words]
    f, g = (transforms.ComposeTransform([part[side] for part in parts]) for side in (0, 1))

    def model(x):
        with pyro.plate("data", len(x)):
            prior = elliptical(torch.zeros(dim), torch.linalg.cholesky(dispersion[:dim, :dim]), dof)
            z = pyro.sample("z", dist.TransformedDistribution(prior, f))
            channel = conditional(f.inv(z), dispersion, dof)
            pyro.sample("x", dist.TransformedDistribution(channel, g), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            posterior = conditional(g.inv(x), swapped, dof, wider=1 + 0.4 / math.sqrt(dim))
            pyro.sample("z", dist.TransformedDistribution(posterior, f))

    return model, guide


def additive_pair(task):
    """z + uniform noise; the guide is wider than the posterior, so that weights are 0."""
    noise = task.params["epsilon"]

    def uniform(low, high):
        return dist.Uniform(low, high, validate_args=False).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", uniform(torch.zeros(1), torch.ones(1)))
            pyro.sample("x", uniform(z - noise, z + noise), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            low, high = (x - noise).clamp(min=0), (x + noise).clamp(max=1)
            margin = 0.2 * (high - low)
            pyro.sample("z", uniform(low - margin, high + margin))

    return model, guide


def pair(task):
    return additive_pair(task) if task.id in ADDITIVE else elliptical_pair(task)


@functools.cache
def drawn(name):
    """bmi's own pairs of a task."""
    parts = TASKS[name].sample(SIZE, seed=1)
    return [torch.tensor(np.asarray(part), dtype=torch.float64) for part in parts]


@pytest.mark.parametrize("name", ADDITIVE + ELLIPTICAL)
def test_the_model_is_the_task(name):
    model, _ = pair(TASKS[name])
    z, x = drawn(name)
    own = poutine.trace(poutine.uncondition(model)).get_trace(x)
    theirs = poutine.trace(poutine.condition(model, {"z": z})).get_trace(x)
    samples = []
    for trace in (own, theirs):
        trace.compute_log_prob()
        z, x = (trace.nodes[site]["value"] for site in ("z", "x"))
        densities = [trace.nodes[site]["log_prob"].round(decimals=9) for site in ("z", "x")]
        samples.append(torch.cat([z, x, x - z, torch.stack(densities, -1)], -1).numpy())
    assert stats.ks_2samp(*samples, method="asymp").pvalue.min() > 1e-6
    ranks = [torch.tensor(stats.rankdata(sample, axis=0)) for sample in samples]
    one, other = (torch.corrcoef(rank.T).nan_to_num() for rank in ranks)  # uniform densities
    assert (one - other).abs().max() < 5 * math.sqrt(2 / SIZE)


def check(model, guide, x, truth, seed=0):
    """The truth within 4 standard errors of bounds that are less than 0.01 nats apart."""
    measured = sandwich(model, guide, x, num_samples=(1, K), codes="z", seed=seed, progress=False)
    lower, upper = measured.lower, measured.upper
    assert lower.mean - 4 * lower.standard_error < truth < upper.mean + 4 * upper.standard_error
    assert 0 < measured.gap.mean < 0.01
    # A single draw costs either bound more than that: the guide is no exact posterior.
    assert float(measured.lower_per_datum[0].mean()) < lower.mean - 0.02
    assert float(measured.upper_per_datum[0].mean()) > upper.mean + 0.02


@pytest.mark.parametrize("name", ADDITIVE + ELLIPTICAL)
def test_the_bounds_bracket_the_published_truth(name):
    model, guide = pair(TASKS[name])
    x = drawn(name)[1][: N if TASKS[name].dim_x < 25 else N // 2]
    check(model, guide, x, TASKS[name].mutual_information, seed=list(TASKS).index(name))


def dense_pair(task):
    """The same pairs, with a latent variable for what the noise of the data has in common."""
    dim, dispersion = task.dim_x, dispersion_of(task)
    swapped = dispersion.roll((dim, dim), (0, 1))
    zero, root = torch.zeros(dim), torch.linalg.cholesky(dispersion[:dim, :dim])
    noise = conditional(zero, dispersion, None).covariance_matrix
    common, own = noise[0, 1], noise[0, 0] - noise[0, 1]

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MultivariateNormal(zero, scale_tril=root))
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            loc = conditional(z, dispersion, None).loc + common.sqrt() * u[..., None]
            pyro.sample("x", dist.Normal(loc, own.sqrt()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", conditional(x, swapped, None, wider=1.2))
            rest = (x - conditional(z, dispersion, None).loc).sum(-1)
            precision = 1 + dim * common / own
            loc = common.sqrt() / own * rest / precision
            pyro.sample("u", dist.Normal(loc, 1.6 * precision**-0.5))

    return model, guide


def student_pair(task):
    """Student's distribution as a mixture of normal ones; the mixing variable depends on z."""
    dim, dof = task.dim_x, task.params["dof"]
    identity = torch.eye(2 * dim)

    def mixing(*given, less=1.0):
        shape = (dof + len(given) * dim) / 2
        rate = (dof + sum(value.square().sum(-1) for value in given)) / 2
        return dist.Gamma(less * shape, less * rate)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", elliptical(torch.zeros(dim), torch.eye(dim), dof))
            u = pyro.sample("u", mixing(z))
            scale = u[..., None] ** -0.5
            pyro.sample("x", dist.Normal(torch.zeros(dim), scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", conditional(x, identity, dof, wider=1.2))
            pyro.sample("u", mixing(z, x, less=0.4))

    return model, guide


@pytest.mark.parametrize(
    ("name", "noisy_pair"),
    [("multinormal-dense-5-5-0.5", dense_pair), ("student-identity-3-3-2", student_pair)],
)
def test_noise_among_the_latent_variables_leaves_the_truth(name, noisy_pair):
    model, guide = noisy_pair(TASKS[name])
    check(model, guide, drawn(name)[1][:N], TASKS[name].mutual_information)
