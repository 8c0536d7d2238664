"""Normal variables squeezed into a bounded interval."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pyro import distributions as dist
from torch import Size, Tensor

from pyro_mivae.distributions.interval import IntervalMap, IntervalProbit, IntervalSigmoid

__all__ = ["LogitNormal", "ProbitNormal", "SquashedNormal"]


class SquashedNormal(dist.TransformedDistribution):  # type: ignore[misc]  # Pyro has no types
    """A normal variable under the map of its class.

    Args:
        loc: Mean of ``y``, any shape.
        scale: Standard deviation of ``y``, positive, broadcast with ``loc``.
        low, high: Bounds, Python numbers.
    """

    squash: ClassVar[type[IntervalMap]]
    base_dist: dist.Normal

    def __init__(
        self, loc: Tensor, scale: Tensor, low: float, high: float, validate_args: bool | None = None
    ) -> None:
        base = dist.Normal(loc, scale, validate_args=validate_args)
        super().__init__(base, self.squash(low, high), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        new = self._get_checked_instance(SquashedNormal, _instance)
        return super().expand(batch_shape, _instance=new)


class LogitNormal(SquashedNormal):
    r"""A normal variable squeezed into (low, high) by a sigmoid.

    .. math:: y \sim N(\mathrm{loc}, \mathrm{scale}^2), \qquad
              c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\sigma(y)

    Neither its moments nor its KL divergence to a uniform have a closed form.

    Args:
        loc: Mean of ``y``, any shape.
        scale: Standard deviation of ``y``, positive, broadcast with ``loc``.
        low, high: Bounds, Python numbers.
    """

    squash = IntervalSigmoid


class ProbitNormal(SquashedNormal):
    r"""A normal variable squeezed into (low, high) by the standard normal CDF.

    .. math:: y \sim N(\mathrm{loc}, \mathrm{scale}^2), \qquad
              c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\Phi(y)

    Uniform at ``loc`` 0 and ``scale`` 1. The KL divergence of two on one interval is that of the
    normals. In float32 a value next to an edge tells its ``y`` less and less exactly (on (-1, 1) to
    2e-4 at y = 4, to 0.02 at 5); the density of a draw is computed from its own ``y``.

    Args:
        loc: Mean of ``y``, any shape.
        scale: Standard deviation of ``y``, positive, broadcast with ``loc``.
        low, high: Bounds, Python numbers.
    """

    squash = IntervalProbit

    @property
    def _width(self) -> float:
        return float(self.transforms[0].high - self.transforms[0].low)

    @property
    def _unit(self) -> tuple[Tensor, Tensor]:
        """The mean on (0, 1), and loc in standard deviations of y plus a standard normal."""
        at = self.base_dist.loc / (1 + self.base_dist.variance).sqrt()
        return torch.special.ndtr(at), at

    @property
    def mean(self) -> Tensor:
        r""":math:`\mathrm{low} + (\mathrm{high}-\mathrm{low})\,\Phi(\mathrm{loc}/\sqrt{1+s^2})`."""
        mean: Tensor = self.transforms[0].low + self._width * self._unit[0]
        return mean

    @property
    def variance(self) -> Tensor:
        r"""The variance of c, by Owen's T function.

        With :math:`h = \mathrm{loc} / \sqrt{1 + s^2}` and :math:`a = 1 / \sqrt{1 + 2 s^2}`, on
        (0, 1) the second moment is :math:`\Phi(h) - 2\,T(h, a)` (Owen 1980, *A table of normal
        integrals*, 20,010.4).
        """
        mean, at = self._unit
        upper = (1 + 2 * self.base_dist.variance).rsqrt()
        nodes, weights = (at.new_tensor(x) for x in np.polynomial.legendre.leggauss(24))
        x = 0.5 * upper.unsqueeze(-1) * (nodes + 1)
        integrand = (-0.5 * at.square().unsqueeze(-1) * (1 + x * x)).exp() / (1 + x * x)
        owen = 0.5 * upper * (integrand * weights).sum(-1) / (2 * math.pi)
        variance: Tensor = self._width**2 * (mean - mean.square() - 2 * owen).clamp(min=0.0)
        return variance
