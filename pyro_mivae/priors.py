"""Priors of a code, and the guide families that live on their support.

A prior owns its distribution p(c) *and* the families its guide may take, because a guide on
another support is silent in Pyro: its losses stay finite until a draw leaves the prior's support.
To add a prior, write one subclass of :class:`Prior` and name it in :data:`PRIORS`.

``scale`` is always a standard deviation, and log-densities and divergences are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.distributions import IntervalUniform, check_interval
from pyro_mivae.families import (
    SCALE_FLOOR,
    Family,
    Posterior,
    at_least_single,
    beta,
    laplace,
    logit_normal,
    normal,
    positive,
)
from pyro_mivae.mixture import NormalMixture


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
        return dist.Normal(at_least_single(self.loc), at_least_single(self.scale)).to_event(1)


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
        scale = at_least_single(self.scale) / math.sqrt(2)
        return dist.Laplace(at_least_single(self.loc), scale).to_event(1)


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
        return IntervalUniform(self.low, self.high, at_least_single(self.like)).to_event(1)


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
        # The inverse of `positive`.
        raw = (scale - SCALE_FLOOR).expm1().log() - math.log(math.expm1(1 - SCALE_FLOOR))
        self.logits = nn.Parameter(torch.zeros(dim, components))
        self.loc = nn.Parameter(loc.repeat(dim, 1))
        self.raw_scale = nn.Parameter(raw.repeat(dim, components))

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        logits, loc, raw = (at_least_single(x) for x in (self.logits, self.loc, self.raw_scale))
        return NormalMixture(logits, loc, positive(raw, SCALE_FLOOR)).to_event(1)


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
