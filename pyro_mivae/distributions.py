"""Distributions on a bounded interval, for priors and the guides that fit them.

torch's own are a step short of what a code needs: ``Uniform`` can draw its lower edge and scores
its upper one as minus infinity, a sigmoid saturates to the edge in float32, ``Beta`` covers (0, 1)
only. Every draw made here lies strictly inside its interval. Bounds are Python floats, so that no
decision about them waits for a device.
"""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pyro import distributions as dist
from pyro.distributions.util import broadcast_shape
from torch import Size, Tensor
from torch.distributions import Transform, constraints, register_kl
from torch.distributions.utils import broadcast_all

__all__ = ["IntervalBeta", "IntervalSigmoid", "IntervalUniform", "LogitBeta", "LogitNormal"]

_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def check_interval(low: float, high: float) -> tuple[float, float]:
    """Returns the bounds as floats; an error unless they are finite and low < high."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected finite bounds with low < high, found low={low}, high={high}")
    return float(low), float(high)


@functools.lru_cache
def interior(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """The smallest and the largest number of ``dtype`` strictly inside (low, high).

    An edge at 0 is left by the smallest *normal* number, since GPUs may flush others to 0.
    """
    if dtype not in _NUMPY:
        raise TypeError(f"a bounded distribution needs float32 or float64, found {dtype}")
    number = _NUMPY[dtype]
    first, last, tiny = number(low), number(high), np.finfo(number).tiny
    inner = (
        max(np.nextafter(first, last), first + tiny),
        min(np.nextafter(last, first), last - tiny),
    )
    if not inner[0] < inner[1]:
        raise ValueError(f"the interval ({low}, {high}) holds fewer than two numbers of {dtype}")
    return float(inner[0]), float(inner[1])


def _open_rand(like: Tensor) -> Tensor:
    """Uniform draws in (0, 1): ``rand`` is a multiple of eps / 2 and can be 0."""
    return torch.rand_like(like).clamp(min=torch.finfo(like.dtype).eps / 4)


class IntervalUniform(dist.Uniform):  # type: ignore[misc]  # Pyro has no types
    r"""The uniform distribution on (low, high), whose draws never touch an edge.

    .. math:: p(c) = 1 / (\mathrm{high} - \mathrm{low})

    Unlike torch's, its density is the same on both edges, as the (closed) support says.

    Args:
        low, high: The bounds, Python numbers.
        like: Its shape is the batch shape; its dtype and device are those of the draws. Its
            values are not used.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, low: float, high: float, like: Tensor, validate_args: bool | None = None
    ) -> None:
        self.bounds = check_interval(low, high)
        interior(*self.bounds, like.dtype)  # an interval too narrow for the dtype ends here
        ends = (torch.full_like(like, bound) for bound in self.bounds)
        super().__init__(*ends, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(IntervalUniform, _instance)
        new.bounds = self.bounds
        return super().expand(batch_shape, _instance=new)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The closed interval, with floats for bounds."""
        return constraints.interval(*self.bounds)  # type: ignore[no-untyped-call]

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``."""
        return self.icdf(_open_rand(self.low.expand(self._extended_shape(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats; minus infinity outside [low, high]."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -math.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile, moved inside where rounding puts it on an edge."""
        result = self.low + value * (self.high - self.low)
        return result.clamp(*interior(*self.bounds, result.dtype))


class IntervalSigmoid(Transform):
    r"""The map :math:`c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\sigma(y)`.

    ``c`` is kept strictly inside the interval, so that a saturated ``c`` says little about its
    ``y``. The pair of the last *draw* is therefore remembered: its ``y`` is found by identity and
    scored exactly, with a gradient however far it saturates. Other values are inverted; those on
    an edge count as the nearest number inside.

    Args:
        low, high: The bounds, Python numbers.
    """

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, low: float, high: float) -> None:
        super().__init__(cache_size=1)
        self.low, self.high = check_interval(low, high)
        self.codomain = constraints.interval(self.low, self.high)  # type: ignore[no-untyped-call]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSigmoid) and (self.low, self.high) == (
            other.low,
            other.high,
        )

    def _call(self, x: Tensor) -> Tensor:
        inner = interior(self.low, self.high, x.dtype)
        return (self.low + (self.high - self.low) * x.sigmoid()).clamp(*inner)

    def _inv_call(self, y: Tensor) -> Tensor:
        # torch would remember an inverted value too, and so forget the draw.
        x_drawn, y_drawn = self._cached_x_y
        return x_drawn if x_drawn is not None and y is y_drawn else self._inverse(y)

    def _inverse(self, y: Tensor) -> Tensor:
        first, last = interior(self.low, self.high, y.dtype)
        # Distances from both edges: 1 - t would lose the digits next to the upper one.
        below = (y - self.low).clamp(min=first - self.low)
        above = (self.high - y).clamp(min=self.high - last)
        return below.log() - above.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r""":math:`\log |dc/dy| = \log(\mathrm{high}-\mathrm{low}) + \log σ(y) + \log σ(-y)`."""
        # logsigmoid rather than softplus, which drops e^-y beyond 20: 2e-9 in float64.
        return math.log(self.high - self.low) + F.logsigmoid(x) + F.logsigmoid(-x)


class LogitNormal(dist.TransformedDistribution):  # type: ignore[misc]
    r"""A normal variable squeezed into (low, high) by a sigmoid.

    .. math:: y \sim N(\mathrm{loc}, \mathrm{scale}^2), \qquad
              c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\sigma(y)

    Neither its moments nor its KL divergence to a uniform have a closed form.

    Args:
        loc: Mean of ``y``, any shape.
        scale: Standard deviation of ``y``, positive, broadcast with ``loc``.
        low, high: The bounds, Python numbers.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, low: float, high: float, validate_args: bool | None = None
    ) -> None:
        base = dist.Normal(loc, scale, validate_args=validate_args)
        super().__init__(base, IntervalSigmoid(low, high), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(LogitNormal, _instance)
        return super().expand(batch_shape, _instance=new)


class LogitBeta(dist.TorchDistribution):  # type: ignore[misc]
    r"""The logit of a Beta variable, which keeps in float32 what is lost next to 0 and 1.

    .. math:: p(y) = σ(y)^a\, σ(-y)^b / B(a, b), \qquad y = \log g_a - \log g_b

    with independent :math:`g_s \sim \mathrm{Gamma}(s)`. Below 1 the gamma draws are boosted in
    logarithms, :math:`g_s = g_{s + 1} u^{1/s}` (Marsaglia and Tsang, 2000), and can't underflow.

    Args:
        concentration1: :math:`a > 0`, any shape.
        concentration0: :math:`b > 0`, broadcast with ``concentration1``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.real
    has_rsample = True
    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self, concentration1: Tensor, concentration0: Tensor, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(LogitBeta, _instance)
        new.concentration1 = self.concentration1.expand(batch_shape)
        new.concentration0 = self.concentration0.expand(batch_shape)
        super(LogitBeta, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``."""
        shape = self._extended_shape(sample_shape)
        log_gamma = []
        for concentration in (self.concentration1.expand(shape), self.concentration0.expand(shape)):
            small = concentration < 1
            gamma = torch._standard_gamma(torch.where(small, concentration + 1, concentration))
            boost = _open_rand(concentration).log() / concentration
            log_gamma.append(gamma.log() + torch.where(small, boost, 0.0))
        return log_gamma[0] - log_gamma[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        log_beta = a.lgamma() + b.lgamma() - (a + b).lgamma()
        return a * F.logsigmoid(value) + b * F.logsigmoid(-value) - log_beta


class IntervalBeta(dist.TransformedDistribution):  # type: ignore[misc]
    r"""A Beta distribution stretched over (low, high).

    .. math:: t \sim \mathrm{Beta}(a, b), \qquad c = \mathrm{low} + (\mathrm{high}-\mathrm{low})\,t

    Drawn and scored through its logit (:class:`LogitBeta`). In float32 the log-density and the KL
    are off by 3e-4 nats at concentrations of 1e3 and by 1e-2 at 1e4, as lgamma grows.

    Args:
        concentration1: :math:`a > 0`, any shape: large values push towards ``high``.
        concentration0: :math:`b > 0`, broadcast with ``concentration1``.
        low, high: The bounds, Python numbers.
    """

    base_dist: LogitBeta

    def __init__(
        self,
        concentration1: Tensor,
        concentration0: Tensor,
        low: float,
        high: float,
        validate_args: bool | None = None,
    ) -> None:
        base = LogitBeta(concentration1, concentration0, validate_args=validate_args)
        super().__init__(base, IntervalSigmoid(low, high), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(IntervalBeta, _instance)
        return super().expand(batch_shape, _instance=new)

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, as Python floats."""
        return self.transforms[0].low, self.transforms[0].high

    @property
    def mean(self) -> Tensor:
        """The expectation of c."""
        a, b = self.base_dist.concentration1, self.base_dist.concentration0
        low, high = self.bounds
        return low + (high - low) * a / (a + b)


@register_kl(IntervalBeta, IntervalUniform)  # type: ignore[no-untyped-call, untyped-decorator]
def _kl_beta_uniform(p: IntervalBeta, q: IntervalUniform) -> Tensor:
    """Minus the entropy of a Beta on (0, 1): the affine map cancels where both share it."""
    if p.bounds != q.bounds:  # then Pyro falls back on sampling
        raise NotImplementedError(f"no KL of a Beta on {p.bounds} to a uniform on {q.bounds}")
    a, b = p.base_dist.concentration1, p.base_dist.concentration0
    log_beta = a.lgamma() + b.lgamma() - (a + b).lgamma()
    digamma = (a + b).digamma()
    kl = (a - 1) * (a.digamma() - digamma) + (b - 1) * (b.digamma() - digamma) - log_beta
    return kl.expand(broadcast_shape(p.batch_shape, q.batch_shape))
