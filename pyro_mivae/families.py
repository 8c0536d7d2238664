"""Guide families: from a network's raw numbers to a distribution on a prior's support."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.distributions import IntervalBeta, LogitNormal
from pyro_mivae.factorised import Factorised

Family = Callable[..., TorchDistribution]

SCALE_FLOOR = 1e-4  # of the prior's scale: codes of 9 nats per dimension, and squares in float32
# Beta(0.01, 0.01) is 94 nats from uniform, where float32 numbers in (-1, 1) can tell 17 apart.
_CONCENTRATION_FLOOR = 1e-2
# argmin_s KL(LogitNormal(0, s) || uniform), the root of s^2 E[sech^2(s e / 2)] = 2 for standard
# normal e. It leaves 0.0095 nats; s = 1 leaves 0.19.
_LOGIT_SCALE = 1.7488007394


def at_least_single(x: Tensor) -> Tensor:
    """Half precision is for networks, not for densities."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def positive(raw: Tensor, floor: float) -> Tensor:
    """A softplus plus a floor, shifted so that raw 0 gives 1."""
    return F.softplus(raw + math.log(math.expm1(1 - floor))) + floor


def normal(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    r""":math:`N`, with raw numbers in units of the prior's standard deviation `scale`."""
    spread = positive(spread, SCALE_FLOOR)
    if (loc, scale) != (0.0, 1.0):
        location, spread = loc + scale * location, scale * spread
    return dist.Normal(location, spread)


def laplace(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    """A Laplace distribution, likewise (torch's Laplace scale is a standard deviation / √2)."""
    deviation = scale * positive(spread, SCALE_FLOOR)
    return dist.Laplace(loc + scale * location, deviation / math.sqrt(2))


def logit_normal(location: Tensor, spread: Tensor, *, low: float, high: float) -> TorchDistribution:
    """A logit-normal on (low, high); at raw 0 the one closest to uniform.

    Both raw numbers are in units of the scale at raw 0, as those of `normal` are: with the
    location in logits a uniform code was learnt late beside a Gaussian noise.
    """
    scale = _LOGIT_SCALE * positive(spread, SCALE_FLOOR)
    return LogitNormal(_LOGIT_SCALE * location, scale, low, high)


def beta(
    towards_high: Tensor, towards_low: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """A Beta on (low, high); at raw 0 the uniform."""
    a, b = (positive(raw, _CONCENTRATION_FLOOR) for raw in (towards_high, towards_low))
    return IntervalBeta(a, b, low, high)


class Posterior(nn.Module):
    """A guide family q(c|x): turns a network's raw numbers into a distribution.

    Raw zeros give the prior, or what comes closest to it. Raw numbers of any size, ±1e4 too, give
    a finite density and finite gradients. Made by :meth:`Prior.posterior`.

    Args:
        name: Name of the family.
        dim: Number of dimensions of the code.
        family: The elementwise distribution of two tensors of raw numbers, (..., dim) each.
        options: What the family must know of the prior, its keywords.
    """

    num_params = 2
    """Raw numbers per dimension."""

    def __init__(
        self, name: str, dim: int, *, family: Family, options: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.name, self.dim, self.family, self.options = name, dim, family, dict(options)

    def forward(self, raw: Tensor) -> TorchDistribution:
        """Returns q(c|x), factorised: batch_shape ``raw.shape[:-1]``, event_shape ``(dim,)``.

        Args:
            raw: Any real numbers, shape (..., dim * num_params): the first `dim` are the first
                parameter of all dimensions, the next `dim` the second. Half precision is
                computed in float32.
        """
        size = self.dim * self.num_params
        if raw.shape[-1:] != (size,):
            raise ValueError(
                f"a {self.name!r} posterior of {self.dim} dimensions takes raw numbers of shape "
                f"(..., {size}), {self.num_params} per dimension; found {tuple(raw.shape)}"
            )
        chunks = at_least_single(raw).chunk(self.num_params, -1)
        return Factorised(self.family(*chunks, **self.options), 1)
