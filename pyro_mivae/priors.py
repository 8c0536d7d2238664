"""Priors of a code, and the guide families that live on their support.

A prior owns its distribution p(c) *and* the families its guide may take, because a guide on
another support is silent in Pyro: its losses stay finite until a draw leaves the prior's support.
To add a prior, write one subclass of :class:`Prior` and name it in :data:`PRIORS`.

``scale`` is always a standard deviation, and log-densities and divergences are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.distributions import IntervalBeta, IntervalUniform, LogitNormal, check_interval
from pyro_mivae.factorised import Factorised
from pyro_mivae.mixture import NormalMixture

Family = Callable[..., TorchDistribution]

_SCALE_FLOOR = 1e-4  # of the prior's scale: codes of 9 nats per dimension, and squares in float32
# Beta(0.01, 0.01) is 94 nats from uniform, where float32 numbers in (-1, 1) can tell 17 apart.
_CONCENTRATION_FLOOR = 1e-2
# argmin_s KL(LogitNormal(0, s) || uniform), the root of s^2 E[sech^2(s e / 2)] = 2 for standard
# normal e. It leaves 0.0095 nats; s = 1 leaves 0.19.
_LOGIT_SCALE = 1.7488007394


def _at_least_single(x: Tensor) -> Tensor:
    """Half precision is for networks, not for densities."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _positive(raw: Tensor, floor: float) -> Tensor:
    """A softplus plus a floor, shifted so that raw 0 gives 1."""
    return F.softplus(raw + math.log(math.expm1(1 - floor))) + floor


def normal(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    r""":math:`N`, with raw numbers in units of the prior's standard deviation `scale`."""
    spread = _positive(spread, _SCALE_FLOOR)
    if (loc, scale) != (0.0, 1.0):
        location, spread = loc + scale * location, scale * spread
    return dist.Normal(location, spread)


def laplace(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    """A Laplace distribution, likewise (torch's Laplace scale is a standard deviation / √2)."""
    deviation = scale * _positive(spread, _SCALE_FLOOR)
    return dist.Laplace(loc + scale * location, deviation / math.sqrt(2))


def logit_normal(location: Tensor, spread: Tensor, *, low: float, high: float) -> TorchDistribution:
    """A logit-normal on (low, high); at raw 0 the one closest to uniform.

    Both raw numbers are in units of the scale at raw 0, as those of `normal` are: with the
    location in logits a uniform code was learnt late beside a Gaussian noise.
    """
    scale = _LOGIT_SCALE * _positive(spread, _SCALE_FLOOR)
    return LogitNormal(_LOGIT_SCALE * location, scale, low, high)


def beta(
    towards_high: Tensor, towards_low: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """A Beta on (low, high); at raw 0 the uniform."""
    a, b = (_positive(raw, _CONCENTRATION_FLOOR) for raw in (towards_high, towards_low))
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
        chunks = _at_least_single(raw).chunk(self.num_params, -1)
        return Factorised(self.family(*chunks, **self.options), 1)


class Prior(nn.Module):
    """A factorised prior p(c) and the guide families that fit it.

    A subclass names the families in :attr:`posteriors`, passes on to this class what they must
    know to be the prior at raw 0, and defines :meth:`forward`. Its tensors are buffers or
    parameters.

    Args:
        dim: Number of dimensions of the code.
        options: The keywords of its families.
    """

    posteriors: ClassVar[Mapping[str, Family]]
    """The guide families that fit, by name; the first is the default."""

    def __init__(self, dim: int, **options: float) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, found {dim}")
        if not options.get("scale", 1.0) > 0:
            raise ValueError(f"scale must be positive, found {options['scale']}")
        self.dim = dim
        self.options = options

    def forward(self) -> TorchDistribution:
        """Returns p(c): batch_shape (), event_shape (dim,)."""
        raise NotImplementedError

    def posterior(self, family: str | None = None) -> Posterior:
        """Makes the guide family of this name, or the default one."""
        if family is None:
            family = next(iter(self.posteriors))
        if family not in self.posteriors:
            raise ValueError(
                f"no posterior {family!r} fits {type(self).__name__}: expected one of "
                f"{', '.join(self.posteriors)}"
            )
        chosen = self.posteriors[family]
        return Posterior(family, self.dim, family=chosen, options=self.options)

    @torch.no_grad()
    def quantile(self, probability: Tensor) -> Tensor:
        """The inverse CDF of every dimension, for traversals; without gradient.

        Args:
            probability: Between 0 and 1, shape (...).

        Returns:
            Shape (..., dim).
        """
        quantile: Tensor = self().base_dist.icdf(probability.unsqueeze(-1))
        return quantile


class GaussianPrior(Prior):
    r""":math:`N(\mathrm{loc}, \mathrm{scale}^2)` in every dimension. Its KL is analytic.

    Args:
        dim: Number of dimensions of the code.
        loc: Mean.
        scale: Standard deviation.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"normal": normal}
    loc: Tensor
    scale: Tensor

    def __init__(self, dim: int, *, loc: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(dim, loc=loc, scale=scale)
        self.register_buffer("loc", torch.full((dim,), float(loc)))
        self.register_buffer("scale", torch.full((dim,), float(scale)))

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        return dist.Normal(_at_least_single(self.loc), _at_least_single(self.scale)).to_event(1)


class LaplacePrior(Prior):
    r"""A Laplace distribution in every dimension. The KL of both families is analytic.

    .. math:: p(c_d) = \exp(-|c_d - \mathrm{loc}| / b) / 2b, \qquad b = \mathrm{scale} / \sqrt 2

    Args:
        dim: Number of dimensions of the code.
        loc: Mean.
        scale: Standard deviation, not torch's ``scale``, which is b.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"laplace": laplace, "normal": normal}
    loc: Tensor
    scale: Tensor

    def __init__(self, dim: int, *, loc: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(dim, loc=loc, scale=scale)
        self.register_buffer("loc", torch.full((dim,), float(loc)))
        self.register_buffer("scale", torch.full((dim,), float(scale)))

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        scale = _at_least_single(self.scale) / math.sqrt(2)
        return dist.Laplace(_at_least_single(self.loc), scale).to_event(1)


class UniformPrior(Prior):
    """Uniform on (low, high) in every dimension.

    The KL of ``beta`` is analytic, that of ``logit-normal`` has no closed form and is sampled.

    Args:
        dim: Number of dimensions of the code.
        low: Lower bound, exclusive.
        high: Upper bound, exclusive.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"logit-normal": logit_normal, "beta": beta}
    like: Tensor

    def __init__(self, dim: int, *, low: float = -1.0, high: float = 1.0) -> None:
        low, high = check_interval(low, high)
        super().__init__(dim, low=low, high=high)
        self.low, self.high = low, high
        # Knows shape, dtype and device; the bounds stay floats, which no device keeps waiting.
        self.register_buffer("like", torch.zeros(dim), persistent=False)

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        return IntervalUniform(self.low, self.high, _at_least_single(self.like)).to_event(1)


class MixturePrior(Prior):
    """A mixture of normals in every dimension, which is learnt. Its KL is sampled.

    It starts with equal weights, means at the quantiles of a standard normal and variance 1.

    Args:
        dim: Number of dimensions of the code.
        components: Normals per dimension.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"normal": normal}

    def __init__(self, dim: int, *, components: int = 5) -> None:
        super().__init__(dim, loc=0.0, scale=1.0)
        if components < 1:
            raise ValueError(f"components must be at least 1, found {components}")
        loc = torch.special.ndtri((torch.arange(components) + 0.5) / components)
        scale = (1 - loc.square().mean()).sqrt()
        # The inverse of `_positive`.
        raw = (scale - _SCALE_FLOOR).expm1().log() - math.log(math.expm1(1 - _SCALE_FLOOR))
        self.logits = nn.Parameter(torch.zeros(dim, components))
        self.loc = nn.Parameter(loc.repeat(dim, 1))
        self.raw_scale = nn.Parameter(raw.repeat(dim, components))

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        logits, loc, raw = (_at_least_single(x) for x in (self.logits, self.loc, self.raw_scale))
        return NormalMixture(logits, loc, _positive(raw, _SCALE_FLOOR)).to_event(1)


PRIORS: dict[str, type[Prior]] = {
    "gaussian": GaussianPrior,
    "uniform": UniformPrior,
    "laplace": LaplacePrior,
    "mixture": MixturePrior,
}
"""The priors by name."""


def make_prior(name: str, dim: int, **options: Any) -> Prior:
    """Makes the prior of this name.

    Args:
        name: A key of :data:`PRIORS`.
        dim: Number of dimensions of the code.
        options: The keywords of its class.

    Example:
        >>> prior = make_prior("uniform", 2, low=0, high=1)
        >>> prior.posterior("beta")(torch.zeros(7, 4)).batch_shape
        torch.Size([7])
    """
    if name not in PRIORS:
        raise ValueError(f"unknown prior {name!r}: expected one of {', '.join(PRIORS)}")
    return PRIORS[name](dim, **options)
