"""Uniform priors: on an interval, by a normal's CDF, and on a turned square."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_mivae.distributions import IntervalUniform, ProbitNormal, RotatedPairs
from pyro_mivae.distributions.interval import check_interval
from pyro_mivae.distributions.precision import at_least_single
from pyro_mivae.priors.base import Prior
from pyro_mivae.priors.families import (
    Family,
    FullFamily,
    beta,
    full_logit_normal,
    full_probit_normal,
    logit_normal,
    probit_normal,
)


class _IntervalPrior(Prior):
    """A prior that is made from the bounds of an interval."""

    like: Tensor

    def __init__(self, dim: int, *, low: float = -1.0, high: float = 1.0) -> None:
        low, high = check_interval(low, high)
        super().__init__(dim, low=low, high=high)
        self.low, self.high = low, high
        # Knows shape, dtype and device; the bounds stay floats, which no device keeps waiting.
        self.register_buffer("like", torch.zeros(dim), persistent=False)


class UniformPrior(_IntervalPrior):
    """Uniform on (low, high) in every dimension.

    The KL of ``beta`` is analytic. The KL of the other families has no closed form and is sampled.

    Args:
        dim: Number of dimensions of the code.
        low: Lower bound, exclusive.
        high: Upper bound, exclusive.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"logit-normal": logit_normal, "beta": beta}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-logit-normal": full_logit_normal}

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        return IntervalUniform(self.low, self.high, at_least_single(self.like)).to_event(1)


class ProbitPrior(_IntervalPrior):
    r"""Uniform on (low, high) in every dimension, as normals pushed through their CDF.

    .. math:: c_d = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\Phi(u_d), \quad u_d \sim N(0, 1)

    with a normal posterior of u: the KL of its families is that of the normals. On (-1, 1) it has
    the ELBO of a Gaussian code whose decoder is composed with :math:`2\Phi - 1`.

    Args:
        dim: Number of dimensions of the code.
        low: Lower bound, exclusive.
        high: Upper bound, exclusive.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"probit-normal": probit_normal}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-probit-normal": full_probit_normal}

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        loc = at_least_single(self.like)
        return ProbitNormal(loc, torch.ones_like(loc), self.low, self.high).to_event(1)


class RotatedUniformPrior(_IntervalPrior):
    r"""Uniform on a square (low, high)² turned by 45 degrees about its centre.

    .. math:: c_0 = m + (a_0 - a_1) / \sqrt 2, \qquad c_1 = m + (a_0 + a_1 - 2m) / \sqrt 2

    with uniform a and :math:`m = (\mathrm{low} + \mathrm{high}) / 2`; dimensions 2 and 3, and so
    on, are turned in the same way. Mean, variance and zero correlation are those of the uniform,
    but the dimensions of a pair depend on each other: each has a triangular density, and a uniform
    density given the other. A posterior is one of the uniform's families, turned in the same way:
    ``logit-normal`` and ``beta`` factorise along the sides of the square. The KL is that of the
    uniform's families.

    Args:
        dim: Number of dimensions of the code, even.
        low: Lower bound before it is turned, exclusive.
        high: Upper bound before it is turned, exclusive.
    """

    posteriors: ClassVar[Mapping[str, Family]] = UniformPrior.posteriors
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = UniformPrior.full_posteriors

    def __init__(self, dim: int, *, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(dim, low=low, high=high)
        if dim % 2:
            raise ValueError(f"dim must be even, as dimensions are turned in pairs, found {dim}")
        self.wrap = functools.partial(RotatedPairs, low=self.low, high=self.high)

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        uniform = IntervalUniform(self.low, self.high, at_least_single(self.like))
        return RotatedPairs(uniform.to_event(1), self.low, self.high)

    @torch.no_grad()
    def quantile(self, probability: Tensor, given: Tensor | None = None) -> Tensor:
        """Returns the inverse CDF of every dimension, by itself or given the other of its pair.

        Args:
            probability: Probabilities between 0 and 1, shape (...).
            given: Code (dim,) inside the square.

        Returns:
            Quantiles, shape (..., dim).
        """
        centre = 0.5 * (self.low + self.high)
        reach = math.sqrt(0.5) * (self.high - self.low)
        if given is None:
            tail = torch.minimum(probability, 1 - probability)
            share = (1 - (2 * tail).sqrt()) * (2 * probability - 1).sign()
            return (centre + reach * share).unsqueeze(-1).expand(*probability.shape, self.dim)
        other = torch.stack([given[..., 1::2], given[..., ::2]], -1).flatten(-2)
        width = (reach - (other - centre).abs()).clamp(min=0.0)
        inside: Tensor = centre + width * (2 * probability.unsqueeze(-1) - 1)
        return inside
