"""Guides and models whose aggregate posterior is known."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_mivae.distributions import (
    CorrelatedNormal,
    CorrelatedSquashedNormal,
    IntervalBeta,
    LogitNormal,
    ProbitNormal,
)
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.posteriors import posteriors
from pyro_mivae.training import evaluation


def in_plate(make, name="z"):
    """A guide whose site has the distribution that `make` gives for the data."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(name, make(x))

    return guide


def normal(x):
    return dist.Normal(x, 0.5).to_event(1)


class Strata(dist.Categorical):
    """64 draws are in exact proportion to probabilities of eighths: expectations are exact.

    Those of `Strata` and of `Inner` have every pair of outcomes in proportion, too.
    """

    def sample(self, sample_shape=()):
        if tuple(sample_shape) != (64,):
            return super().sample(sample_shape)
        outcomes = torch.arange(self.probs.shape[-1])
        rows = (8 * self.probs).round().long().reshape(-1, len(outcomes))
        draws = torch.stack([outcomes.repeat_interleave(row) for row in rows], -1)
        return self.arrange(draws).reshape(64, *self.batch_shape)

    def arrange(self, draws):
        return draws.repeat_interleave(8, 0)


class Inner(Strata):
    def arrange(self, draws):
        return draws.repeat(8, 1)


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


Q_C = doubles([1, 7, 0], [2, 2, 4], [8, 0, 0], [3, 3, 2], [1, 1, 6]) / 8
Q_Z = doubles([4, 4], [1, 7], [6, 2], [5, 3], [0, 8]) / 8
P_C, P_Z = doubles(0.5, 0.2, 0.3), doubles(0.4, 0.6)
P_X = doubles([0.1, 0.3], [0.8, 0.6], [0.2, 0.9])
OBSERVED = doubles(0, 1, 1, 0, 1)
TABLE = [torch.arange(5), OBSERVED]


def table_guide(index, _):
    with pyro.plate("data", len(index)):
        pyro.sample("c", Strata(Q_C[index]))
        pyro.sample("z", Inner(Q_Z[index]))


def table_model(index, x):
    with pyro.plate("data", len(index)):
        c = pyro.sample("c", dist.Categorical(P_C))
        z = pyro.sample("z", dist.Categorical(P_Z))
        pyro.sample("x", dist.Bernoulli(P_X[c, z]), obs=x)


def relative_entropy(q, p):
    """sum q log q/p, over the outcomes that happen."""
    q, p = np.broadcast_arrays(q, p)
    return float((q[q > 0] * np.log(q[q > 0] / p[q > 0])).sum())


class Linear:
    """x ~ N(0, I), q(z|x) = N(Ax + a, diag s^2), q(z) = N(a, AA' + diag s^2), p(z) = N(0, I)."""

    def __init__(self, dims=3, scale=0.8):
        generator = torch.Generator().manual_seed(5)
        self.A = 0.5 * torch.randn(dims, 4, generator=generator)
        self.a = 0.3 * torch.randn(dims, generator=generator)
        self.s = scale * torch.linspace(0.8, 1.2, dims)
        self.covariance = self.A @ self.A.T + torch.diag(self.s**2)
        variance, half_log_det = self.covariance.diagonal(), self.covariance.logdet() / 2
        self.information = float(half_log_det - self.s.log().sum())
        self.each = variance.log() / 2 - self.s.log()
        self.total_correlation = float(variance.log().sum() / 2 - half_log_det)
        self.dimension_kl = (variance + self.a**2 - 1 - variance.log()) / 2
        self.marginal_kl = self.total_correlation + float(self.dimension_kl.sum())
        correlation = self.covariance / variance.outer(variance).sqrt()
        self.pairwise = -torch.log1p(-(correlation**2)) / 2

    def data(self, size, seed=1):
        return torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.A.T + self.a, self.s).to_event(1))

    def joint_guide(self, x):
        with pyro.plate("data", len(x)):
            loc, scale_tril = x @ self.A.T + self.a, torch.diag(self.s)
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=scale_tril))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(self.a)), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)

    def bias(self, size):
        """Of the information: the population's q(z) is that of infinitely many data.

        To second order -(E[q(z|x) / q(z)] - 1) / 2N, and E[q(z|x) / q(z)] = exp(2 I) here.
        """
        return (math.exp(2 * self.information) - 1) / (2 * size)


def close(estimate, truth, slack, errors=4.0):
    return abs(estimate.mean - truth) < errors * estimate.standard_error + slack


def logits(x):
    return torch.stack([x.sum(-1), x[..., 0], -x[..., 1]], -1)


FAMILIES = {
    "normal": (normal, True),
    "laplace": (lambda x: dist.Laplace(x, 0.3).to_event(1), True),
    "log-normal": (lambda x: dist.LogNormal(x, x.exp()).to_event(1), True),
    "logit-normal": (lambda x: LogitNormal(x, x.exp(), -1.0, 2.0).to_event(1), True),
    "beta": (lambda x: IntervalBeta(x.exp(), (-x).exp(), 0.0, 1.0).to_event(1), True),
    "gamma": (lambda x: dist.Gamma(x.exp(), 1.0).to_event(1), True),
    "uniform": (lambda x: dist.Uniform(x - 1, x + 1).to_event(1), True),  # supports differ
    "bernoulli": (lambda x: dist.Bernoulli(logits=x).to_event(1), True),
    "masked": (lambda x: normal(x).mask(x[:, 0] > 0), True),
    "categorical": (lambda x: dist.Categorical(logits=logits(x)), True),
    "one-hot": (lambda x: dist.OneHotCategorical(logits=logits(x)), True),
    "dirichlet": (lambda x: dist.Dirichlet(logits(x).exp()), False),
    "full covariance on an interval": (
        lambda x: CorrelatedSquashedNormal(
            CorrelatedNormal(x, torch.tensor([[1.0, 0.0], [0.5, 1.0]])), ProbitNormal, -1, 1
        ),
        True,
    ),
    "multivariate": (
        lambda x: dist.MultivariateNormal(x, torch.tensor([[1.0, 0.5], [0.5, 1.0]])),
        True,
    ),
    "masked multivariate": (
        lambda x: dist.MultivariateNormal(x, torch.eye(2)).mask(x[:, 0] > 0),
        True,
    ),
    "affine": (
        lambda x: dist.TransformedDistribution(
            dist.Normal(torch.zeros(2), 1.0).expand(x.shape),
            [dist.transforms.AffineTransform(x, x.exp()), dist.transforms.SigmoidTransform()],
        ).to_event(1),
        True,
    ),
}


def drawn(guide, data, *, samples=1, batch_size=500):
    """The draws that a measurement of seed 0 makes: by site, those of a datum side by side."""
    with evaluation(guide, device=data.device):
        run = list(posteriors(guide, Batching.of(data, batch_size, None, 0), num_samples=samples))
    return {
        name: torch.cat([b.draws[name].movedim(q.position, 0).flatten(0, 1) for _, b in run])
        for name, q in run[0][1].densities.items()
    }
