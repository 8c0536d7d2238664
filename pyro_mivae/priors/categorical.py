"""The prior of a discrete code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_mivae.distributions import GumbelOneHot
from pyro_mivae.distributions.precision import at_least_single
from pyro_mivae.priors.base import Prior
from pyro_mivae.priors.families import (
    CategoryPosterior,
    Family,
    Posterior,
    gumbel,
)


class CategoricalPrior(Prior):
    """One of `dim` equally likely categories, as a one-hot vector. Its KL is analytic.

    Args:
        dim: Number of categories, at least 2.
    """

    posteriors: ClassVar[Mapping[str, Family]] = {"gumbel": gumbel}
    like: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        if dim < 2:
            raise ValueError(f"dim must be at least 2 categories, found {dim}")
        self.register_buffer("like", torch.zeros(dim), persistent=False)

    def forward(self) -> TorchDistribution:
        """Returns p(d): batch_shape (), event_shape (dim,)."""
        return GumbelOneHot(at_least_single(self.like))

    def posterior(self, family: str | None = None) -> Posterior:
        """Makes the guide family of this name, or the default one."""
        base = super().posterior(family)
        return CategoryPosterior(base.name, self.dim, family=base.family, options=self.options)

    def quantile(self, probability: Tensor, given: Tensor | None = None) -> Tensor:
        """Raises NotImplementedError: categories have no order, and so no quantiles."""
        raise NotImplementedError("categories have no order, and so no quantiles")
