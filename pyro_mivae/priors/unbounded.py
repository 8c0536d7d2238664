"""Priors on the whole real line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.checks import check_count, check_number
from pyro_mivae.distributions.mixture import NormalMixture
from pyro_mivae.distributions.precision import at_least_single
from pyro_mivae.priors.base import Prior
from pyro_mivae.priors.families import (
    SCALE_FLOOR,
    Family,
    FullFamily,
    full_normal,
    laplace,
    normal,
    positive,
)


class _LocationScalePrior(Prior):
    """A prior that is made from a mean and a standard deviation."""

    loc: Tensor
    scale: Tensor

    def __init__(self, dim: int, *, loc: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(dim, loc=loc, scale=scale)
        self.register_buffer("loc", torch.full((dim,), float(loc)))
        self.register_buffer("scale", torch.full((dim,), float(scale)))


class GaussianPrior(_LocationScalePrior):
    r"""A normal :math:`N(\mathrm{loc}, \mathrm{scale}^2)` in every dimension. Its KL is analytic.

    Args:
        dim: Number of dimensions of the code.
        loc: Mean.
        scale: Standard deviation.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"normal": normal}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-normal": full_normal}

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        return dist.Normal(at_least_single(self.loc), at_least_single(self.scale)).to_event(1)


class LaplacePrior(_LocationScalePrior):
    r"""A Laplace distribution in every dimension. The KL of its families is analytic.

    .. math:: p(c_d) = \exp(-|c_d - \mathrm{loc}| / b) / 2b, \qquad b = \mathrm{scale} / \sqrt 2

    Args:
        dim: Number of dimensions of the code.
        loc: Mean.
        scale: Standard deviation, not torch's ``scale``, which is b.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"laplace": laplace, "normal": normal}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-normal": full_normal}

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        scale = at_least_single(self.scale) / math.sqrt(2)
        return dist.Laplace(at_least_single(self.loc), scale).to_event(1)


class BimodalPrior(Prior):
    r"""Two normals of equal weight in every dimension, which are not learnt. Its KL is sampled.

    .. math::

        p(c_d) = \tfrac12 \sum_{\pm} N\big(c_d;\ \mathrm{loc} \pm r\, s,\ (1 - r^2)\, s^2\big),
        \qquad s = \mathrm{scale},\ r = \mathrm{distance}

    It has two modes where :math:`r^2 > 1/2`.

    Args:
        dim: Number of dimensions of the code.
        loc: Mean.
        scale: Standard deviation of the prior.
        distance: Distance of each normal's mean from `loc`, in units of `scale`; above 0 and below
            1.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"normal": normal}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-normal": full_normal}
    means: Tensor
    scales: Tensor

    def __init__(
        self, dim: int, *, loc: float = 0.0, scale: float = 1.0, distance: float = 0.9
    ) -> None:
        super().__init__(dim, loc=loc, scale=scale)
        check_number("distance", distance, above=0, below=1)
        means = torch.tensor([loc - scale * distance, loc + scale * distance])
        self.register_buffer("means", means.repeat(dim, 1))
        self.register_buffer("scales", torch.full((dim, 2), scale * (1 - distance**2) ** 0.5))

    def forward(self) -> TorchDistribution:
        """Returns p(c)."""
        means, scales = at_least_single(self.means), at_least_single(self.scales)
        return NormalMixture(torch.zeros_like(means), means, scales).to_event(1)


class MixturePrior(Prior):
    """A mixture of normals in every dimension, which is learnt. Its KL is sampled.

    It starts with equal weights, means at the quantiles of a standard normal and variance 1.

    Args:
        dim: Number of dimensions of the code.
        components: Number of normals in each dimension.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"normal": normal}
    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {"full-normal": full_normal}

    def __init__(self, dim: int, *, components: int = 5) -> None:
        super().__init__(dim, loc=0.0, scale=1.0)
        components = check_count("components", components)
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
