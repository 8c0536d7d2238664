"""The base class of priors: a distribution, guide families, quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.checks import check_count, check_number
from pyro_mivae.priors.families import (
    Family,
    FullFamily,
    FullPosterior,
    Posterior,
    Wrap,
)


class Prior(nn.Module):
    """A prior p(c) and the guide families that fit it.

    A subclass names the families in :attr:`posteriors` and :attr:`full_posteriors`, passes their
    keywords to this class, and defines :meth:`forward`. Its tensors are buffers or parameters.

    Args:
        dim: Number of dimensions of the code.
        options: Keywords of the families, by which they are the prior at raw 0.
    """

    posteriors: ClassVar[Mapping[str, Family]]
    """The factorised guide families that fit, by name; the first is the default."""

    full_posteriors: ClassVar[Mapping[str, FullFamily]] = {}
    """The guide families with a full covariance."""

    wrap: Wrap | None = None
    """Function that makes the code's distribution from a family's; None if both are the same."""

    def __init__(self, dim: int, **options: float) -> None:
        super().__init__()
        dim = check_count("dim", dim)
        for name, number in options.items():
            check_number(name, number, above=0 if name == "scale" else None)
        self.dim = dim
        self.options = options

    def forward(self) -> TorchDistribution:
        """Returns p(c): batch_shape (), event_shape (dim,)."""
        raise NotImplementedError

    def posterior(self, family: str | None = None) -> Posterior:
        """Makes the guide family of this name, or the default one."""
        if family is None:
            family = next(iter(self.posteriors))
        full = family in self.full_posteriors
        known = self.full_posteriors if full else self.posteriors
        if family not in known:
            names = ", ".join((*self.posteriors, *self.full_posteriors))
            raise ValueError(
                f"no posterior {family!r} fits {type(self).__name__}: expected one of {names}"
            )
        kind = FullPosterior if full else Posterior
        chosen, options = known[family], self.options
        return kind(family, self.dim, family=chosen, options=options, wrap=self.wrap)

    @torch.no_grad()
    def quantile(self, probability: Tensor, given: Tensor | None = None) -> Tensor:
        """Returns the inverse CDF of every dimension, for traversals; without gradient.

        Args:
            probability: Probabilities between 0 and 1, shape (...).
            given: Code (dim,): where dimensions depend on each other, the quantiles of each are
                conditional on the others' values in it.

        Returns:
            Quantiles, shape (..., dim).
        """
        quantile: Tensor = self().base_dist.icdf(probability.unsqueeze(-1))
        return quantile
