"""Normals with a full covariance, as they are and squeezed into an interval."""

from __future__ import annotations

from typing import Any

from pyro import distributions as dist
from torch import Size, Tensor
from torch.distributions import Independent, kl_divergence, register_kl

from pyro_mivae.distributions.squashed import SquashedNormal

__all__ = ["CorrelatedNormal", "CorrelatedSquashedNormal"]


class CorrelatedNormal(dist.MultivariateNormal):  # type: ignore[misc]  # Pyro has no types
    r"""A multivariate normal whose KL divergence to independent dimensions is known.

    .. math::

        \mathrm{KL}\Big(q \,\Big\|\, \prod_d p_d\Big)
            = \sum_d \mathrm{KL}(q_d \,\|\, p_d) + \mathrm{TC}(q), \qquad
        \mathrm{TC}(q) = \sum_d \log \sqrt{Σ_{dd}} - \log |L|

    with the marginals :math:`q_d` and :math:`Σ = L L^\top`: analytic where that of a normal to each
    :math:`p_d` is.

    Args:
        loc: Mean, (..., dim).
        scale_tril: L, lower triangular with a positive diagonal, (..., dim, dim).
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(loc, scale_tril=scale_tril, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        if _instance is None and Size(batch_shape) == self.batch_shape:
            return self  # as in every plate of its own size
        new = self._get_checked_instance(CorrelatedNormal, _instance)
        return super().expand(batch_shape, _instance=new)

    @property
    def marginals(self) -> dist.Normal:
        """The marginal of every dimension, batch_shape (..., dim)."""
        return dist.Normal(self.loc, self.variance.sqrt())

    @property
    def total_correlation(self) -> Tensor:
        """KL divergence to the product of the marginals in nats, shape ``batch_shape``."""
        diagonal = self.scale_tril.diagonal(dim1=-2, dim2=-1)
        correlation: Tensor = (0.5 * self.variance.log() - diagonal.log()).sum(-1)
        return correlation


class CorrelatedSquashedNormal(dist.TransformedDistribution):  # type: ignore[misc]
    """A multivariate normal of which every dimension is squeezed into (low, high).

    The total correlation is that of the normal. The KL divergence to independent dimensions is
    computed as for :class:`CorrelatedNormal`.

    Args:
        base: Normal to squeeze.
        kind: Class of the marginals, :class:`LogitNormal` or :class:`ProbitNormal`.
        low, high: Bounds, Python numbers.
    """

    base_dist: CorrelatedNormal

    def __init__(
        self,
        base: CorrelatedNormal,
        kind: type[SquashedNormal],
        low: float,
        high: float,
        validate_args: bool | None = None,
    ) -> None:
        self.kind = kind
        super().__init__(base, kind.squash(low, high), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        if _instance is None and Size(batch_shape) == self.batch_shape:
            return self
        new = self._get_checked_instance(CorrelatedSquashedNormal, _instance)
        new.kind = self.kind
        return super().expand(batch_shape, _instance=new)

    @property
    def marginals(self) -> SquashedNormal:
        """The marginal of every dimension, batch_shape (..., dim)."""
        normal, squash = self.base_dist.marginals, self.transforms[0]
        return self.kind(normal.loc, normal.scale, squash.low, squash.high)

    @property
    def total_correlation(self) -> Tensor:
        """KL divergence to the product of the marginals in nats, shape ``batch_shape``."""
        return self.base_dist.total_correlation


@register_kl(CorrelatedNormal, Independent)  # type: ignore[no-untyped-call, untyped-decorator]
@register_kl(CorrelatedSquashedNormal, Independent)  # type: ignore[no-untyped-call, untyped-decorator]
def _kl_independent(p: CorrelatedNormal | CorrelatedSquashedNormal, q: Independent[Any]) -> Tensor:
    if q.reinterpreted_batch_ndims != 1 or q.base_dist.event_shape:
        raise NotImplementedError(f"no KL of {type(p).__name__} to {q}")
    each: Tensor = kl_divergence(p.marginals, q.base_dist)
    return each.sum(-1) + p.total_correlation
