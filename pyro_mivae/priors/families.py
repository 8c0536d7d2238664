"""Guide families: from a network's raw numbers to a distribution on a prior's support."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_mivae.distributions import (
    CorrelatedNormal,
    CorrelatedSquashedNormal,
    GumbelOneHot,
    IntervalBeta,
    LogitNormal,
    ProbitNormal,
)
from pyro_mivae.distributions.factorised import Factorised
from pyro_mivae.distributions.precision import at_least_single

Family = Callable[..., TorchDistribution]
"""An elementwise distribution of two tensors of raw numbers, (..., dim) each, and keywords."""

FullFamily = Callable[..., TorchDistribution]
"""A distribution of a location (..., dim) and a scale_tril (..., dim, dim), and keywords."""

Wrap = Callable[[TorchDistribution], TorchDistribution]
"""Makes the distribution of the code from one of event_shape (dim,)."""

SCALE_FLOOR = 1e-4  # of the prior's scale: codes of 9 nats per dimension, and squares in float32
_LARGEST_INVERSE = 1e6
# Beta(0.01, 0.01) is 94 nats from uniform, where float32 numbers in (-1, 1) can tell 17 apart.
_CONCENTRATION_FLOOR = 1e-2
# argmin_s KL(LogitNormal(0, s) || uniform), the root of s^2 E[sech^2(s e / 2)] = 2 for standard
# normal e. It leaves 0.0095 nats; s = 1 leaves 0.19.
_LOGIT_SCALE = 1.7488007394


def positive(raw: Tensor, floor: float) -> Tensor:
    """Returns a softplus plus a floor, shifted so that raw 0 gives 1."""
    return F.softplus(raw + math.log(math.expm1(1 - floor))) + floor


def normal(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    """Makes a normal, with raw numbers in units of the prior's standard deviation `scale`."""
    spread = positive(spread, SCALE_FLOOR)
    if (loc, scale) != (0.0, 1.0):
        location, spread = loc + scale * location, scale * spread
    return dist.Normal(location, spread)


def laplace(location: Tensor, spread: Tensor, *, loc: float, scale: float) -> TorchDistribution:
    """Makes a Laplace distribution, with raw numbers in the units of `normal`.

    torch's scale of a Laplace distribution is its standard deviation over √2.
    """
    deviation = scale * positive(spread, SCALE_FLOOR)
    return dist.Laplace(loc + scale * location, deviation / math.sqrt(2))


def logit_normal(location: Tensor, spread: Tensor, *, low: float, high: float) -> TorchDistribution:
    """Makes a logit-normal on (low, high), at raw 0 the logit-normal closest to uniform.

    Both raw numbers are in units of the scale at raw 0, as for `normal`: with the location in
    logits a uniform code was learnt late beside a Gaussian noise.
    """
    scale = _LOGIT_SCALE * positive(spread, SCALE_FLOOR)
    return LogitNormal(_LOGIT_SCALE * location, scale, low, high)


def probit_normal(
    location: Tensor, spread: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """Makes a normal pushed into (low, high) by Phi, at raw 0 the uniform."""
    return ProbitNormal(location, positive(spread, SCALE_FLOOR), low, high)


def beta(
    towards_high: Tensor, towards_low: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """Makes a Beta on (low, high), at raw 0 the uniform."""
    a, b = (positive(raw, _CONCENTRATION_FLOOR) for raw in (towards_high, towards_low))
    return IntervalBeta(a, b, low, high)


def full_normal(
    location: Tensor, scale_tril: Tensor, *, loc: float, scale: float
) -> TorchDistribution:
    """Makes a multivariate normal, in units of the prior's standard deviation `scale`."""
    return CorrelatedNormal(loc + scale * location, scale * scale_tril)


def full_logit_normal(
    location: Tensor, scale_tril: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """Makes a multivariate normal squeezed by sigmoids, in the units of `logit_normal`."""
    normal = CorrelatedNormal(_LOGIT_SCALE * location, _LOGIT_SCALE * scale_tril)
    return CorrelatedSquashedNormal(normal, LogitNormal, low, high)


def full_probit_normal(
    location: Tensor, scale_tril: Tensor, *, low: float, high: float
) -> TorchDistribution:
    """Makes a multivariate normal pushed through Phi in every dimension."""
    normal = CorrelatedNormal(location, scale_tril)
    return CorrelatedSquashedNormal(normal, ProbitNormal, low, high)


def gumbel(logits: Tensor) -> TorchDistribution:
    """Makes a one-hot category with straight-through Gumbel-softmax gradients."""
    return GumbelOneHot(logits)


class Posterior(nn.Module):
    """A guide family q(c|x), a map from a network's raw numbers to a distribution.

    Raw zeros give the prior, or the member closest to it. Raw numbers of any size, also ±1e4, give
    a finite density and finite gradients. :meth:`Prior.posterior` makes it.

    Args:
        name: Name of the family.
        dim: Number of dimensions of the code.
        family: Function from two tensors of raw numbers, (..., dim) each, to an elementwise
            distribution.
        options: Keywords of the family, which describe the prior.
        wrap: Function applied to the distribution of all dimensions, if any.
    """

    def __init__(
        self,
        name: str,
        dim: int,
        *,
        family: Callable[..., TorchDistribution],
        options: Mapping[str, float],
        wrap: Wrap | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.family, self.options = name, dim, family, dict(options)
        self.wrap = wrap

    @property
    def num_raw(self) -> int:
        """The number of raw numbers that it takes for all dimensions."""
        return 2 * self.dim

    def forward(self, raw: Tensor) -> TorchDistribution:
        """Returns q(c|x): batch_shape ``raw.shape[:-1]``, event_shape ``(dim,)``.

        Args:
            raw: Real numbers of any size, shape (..., num_raw). The first `dim` are the first
                parameter of all dimensions, the next `dim` the second. Half precision is computed
                in float32.
        """
        if raw.shape[-1:] != (self.num_raw,):
            raise ValueError(
                f"a {self.name!r} posterior of {self.dim} dimensions takes raw numbers of shape "
                f"(..., {self.num_raw}), found {tuple(raw.shape)}"
            )
        posterior = self._make(at_least_single(raw))
        return posterior if self.wrap is None else self.wrap(posterior)

    def _make(self, raw: Tensor) -> TorchDistribution:
        return Factorised(self.family(*raw.chunk(2, -1), **self.options), 1)


class FullPosterior(Posterior):
    r"""A guide family with the covariance of all dimensions.

    The scale_tril, in units of the prior, is

    .. math:: L = \mathrm{diag}(s)\,(1 + N), \qquad N = b \tanh(\operatorname{asinh}(R) / b), \qquad
              Σ = L L^\top

    with s as that of the factorised family and R strictly lower triangular: the conditional
    standard deviation of each dimension, given those before it, is above a floor, and
    :math:`\log |L| = \sum \log s`. N is R near 0. Its bound :math:`b = 10^{6 / (d - 1)} - 1` in d
    dimensions (30 in five, 3.6 in ten) keeps the inverse of 1 + N below a million: single precision
    holds the square of 1e8 standard deviations times that. The raw numbers after the first 2 `dim`
    are R's, row by row.
    """

    @property
    def num_raw(self) -> int:
        """The number of raw numbers that it takes for all dimensions."""
        return self.dim * (self.dim + 3) // 2

    @property
    def _bound(self) -> float:
        return float(_LARGEST_INVERSE ** (1 / max(1, self.dim - 1)) - 1)

    def _make(self, raw: Tensor) -> TorchDistribution:
        sizes = [self.dim, self.dim, self.num_raw - 2 * self.dim]
        location, spread, below = torch.split(raw, sizes, -1)
        unit = torch.diag_embed(torch.ones_like(location))
        row, column = torch.tril_indices(self.dim, self.dim, -1, device=raw.device)
        unit[..., row, column] = self._bound * (below.asinh() / self._bound).tanh()
        scale_tril = positive(spread, SCALE_FLOOR).unsqueeze(-1) * unit
        return self.family(location, scale_tril, **self.options)


class CategoryPosterior(Posterior):
    """One category of `dim`, from its logits (..., dim); see :class:`GumbelOneHot`."""

    @property
    def num_raw(self) -> int:
        """The number of raw numbers that it takes."""
        return self.dim

    def _make(self, raw: Tensor) -> TorchDistribution:
        return self.family(raw, **self.options)
