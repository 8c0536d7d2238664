"""A mixture of normals with reparameterised draws, for a prior that is learnt."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro import distributions as dist
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

__all__ = ["NormalMixture"]


class NormalMixture(dist.TorchDistribution):  # type: ignore[misc]  # Pyro has no types
    r"""A univariate mixture of K normals whose draws carry gradients.

    .. math:: p(z) = \sum_k w_k N(z; \mathrm{loc}_k, \mathrm{scale}_k^2), \qquad
              \frac{\partial z}{\partial θ} = -\frac{\partial F(z; θ) / \partial θ}{p(z)}

    The second formula is the implicit reparameterisation of Figurnov, Mohamed and Mnih (2018,
    arXiv:1805.08498), unbiased for every parameter. torch's ``MixtureSameFamily`` has no such
    gradient. The share of the weights in it, and so its variance, grows as 1 / p(z) between
    distant components. Only first derivatives are right.

    Args:
        logits: Unnormalised log-weights, (..., K).
        loc: Means, (..., K).
        scale: Standard deviations, positive, (..., K).

    Example:
        >>> NormalMixture(torch.zeros(3, 2), torch.randn(3, 2), torch.ones(3, 2)).batch_shape
        torch.Size([3])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),  # type: ignore[no-untyped-call]
    }
    support = constraints.real
    has_rsample = True
    logits: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.logits, self.loc, self.scale = broadcast_all(logits, loc, scale)
        super().__init__(self.loc.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        new = self._get_checked_instance(NormalMixture, _instance)
        shape = (*batch_shape, self.loc.shape[-1])
        new.logits, new.loc, new.scale = (
            x.expand(shape) for x in (self.logits, self.loc, self.scale)
        )
        super(NormalMixture, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The expectation of z."""
        return (self.logits.softmax(-1) * self.loc).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of z."""
        distance = self.loc - self.mean.unsqueeze(-1)
        return (self.logits.softmax(-1) * (self.scale**2 + distance**2)).sum(-1)

    def _log_joint(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Returns z in units of each component, and log w_k N(z; loc_k, scale_k): (..., K)."""
        unit = (value.unsqueeze(-1) - self.loc) / self.scale
        log_normal = -0.5 * (unit**2 + math.log(2 * math.pi)) - self.scale.log()
        return unit, self.logits.log_softmax(-1) + log_normal

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_joint(value)[1].logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        """Returns the probability of a draw below ``value``."""
        unit = (value.unsqueeze(-1) - self.loc) / self.scale
        result: Tensor = (self.logits.softmax(-1) * torch.special.ndtr(unit)).sum(-1)
        return result

    @torch.no_grad()
    def icdf(self, value: Tensor) -> Tensor:
        """Finds the quantile by bisection between those of the components; without gradient."""
        ends: Tensor = self.loc + self.scale * torch.special.ndtri(value).unsqueeze(-1)
        low, high = ends.amin(-1), ends.amax(-1)
        for _ in range(60):  # a fixed count: looking at the error would wait for the device
            middle = (low + high) / 2
            below = self.cdf(middle) < value
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    @torch.no_grad()
    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws values of shape ``sample_shape + batch_shape``, without gradient."""
        shape = (*self._extended_shape(sample_shape), self.loc.shape[-1])
        # Gumbel-max: torch.multinomial waits for the device when it draws one number.
        gumbel = -torch.empty_like(self.logits.expand(shape)).exponential_().log()
        component = (self.logits + gumbel).argmax(-1, keepdim=True)
        loc = self.loc.expand(shape).gather(-1, component).squeeze(-1)
        scale = self.scale.expand(shape).gather(-1, component).squeeze(-1)
        return loc + scale * torch.randn_like(loc)

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws values of shape ``sample_shape + batch_shape`` with implicit gradients."""
        value = self.sample(sample_shape)
        if not any(x.requires_grad for x in (self.logits, self.loc, self.scale)):
            return value  # of a mixture that is not learnt
        log_weight = self.logits.log_softmax(-1)
        with torch.no_grad():
            unit, log_joint = self._log_joint(value)
            log_density = log_joint.logsumexp(-1, keepdim=True)
            responsibility = (log_joint - log_density).exp()
            # dF = sum_k w_k Phi_k d(log w_k), and sum_k w_k d(log w_k) = 0: in the upper half
            # Phi_k - 1 serves as well, and keeps its digits where Phi_k rounds to 1.
            sign = torch.where(self.cdf(value) > 0.5, -1.0, 1.0).unsqueeze(-1).to(unit.dtype)
            log_ratio: Tensor = log_weight + torch.special.log_ndtr(sign * unit) - log_density
            # e^40 is out of reach of a draw's density; its square is still finite in float32.
            ratio = sign * log_ratio.clamp(max=40.0).exp()
        shift = responsibility * (self.loc + unit * self.scale) - ratio * log_weight
        shift = shift.sum(-1)
        return value + (shift - shift.detach())
