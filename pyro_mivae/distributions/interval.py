"""The open interval: its edges in floating point, the uniform, and maps from the real line.

torch's own are a step short of what a code needs: ``Uniform`` can draw its lower edge and gives
its upper one a log-density of minus infinity, and a sigmoid saturates to the edge in float32. Every
draw made here lies strictly inside its interval. Bounds are Python floats, so that no decision
about them waits for a device.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pyro import distributions as dist
from torch import Size, Tensor
from torch.distributions import Transform, constraints

__all__ = ["IntervalMap", "IntervalProbit", "IntervalSigmoid", "IntervalUniform"]

_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def check_interval(low: float, high: float) -> tuple[float, float]:
    """Returns the bounds as floats, and refuses them unless they are finite and low < high."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected finite bounds with low < high, found low={low}, high={high}")
    return float(low), float(high)


@functools.lru_cache
def interior(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Returns the smallest and the largest number of ``dtype`` strictly inside (low, high).

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


def open_rand(like: Tensor) -> Tensor:
    """Draws uniform numbers in (0, 1): ``rand`` is a multiple of eps / 2 and can be 0."""
    return torch.rand_like(like).clamp(min=torch.finfo(like.dtype).eps / 4)


class IntervalUniform(dist.Uniform):  # type: ignore[misc]  # Pyro has no types
    r"""The uniform distribution on (low, high), whose draws never touch an edge.

    .. math:: p(c) = 1 / (\mathrm{high} - \mathrm{low})

    Unlike torch's, its density is the same on both edges, as the (closed) support says.

    Args:
        low, high: Bounds, Python numbers.
        like: Tensor with the batch shape, and the dtype and device of the draws. Its values are
            not used.
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
        """Returns the same distribution with a larger batch shape."""
        new = self._get_checked_instance(IntervalUniform, _instance)
        new.bounds = self.bounds
        return super().expand(batch_shape, _instance=new)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The closed interval, with floats for bounds."""
        return constraints.interval(*self.bounds)  # type: ignore[no-untyped-call]

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws values of shape ``sample_shape + batch_shape``."""
        return self.icdf(open_rand(self.low.expand(self._extended_shape(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log-density in nats; minus infinity outside [low, high]."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -math.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """Returns the quantile, moved inside where rounding puts it on an edge."""
        result = self.low + value * (self.high - self.low)
        return result.clamp(*interior(*self.bounds, result.dtype))


class IntervalMap(Transform):
    """An increasing map of the real line onto (low, high).

    The result ``c`` is kept strictly inside the interval, so that a saturated ``c`` says little
    about its ``y``. The pair of the last *draw* is therefore remembered: the density of this ``c``
    is computed from its own ``y``, exactly, with a gradient however far it saturates. Other values
    are inverted; those on an edge count as the nearest number inside.

    Args:
        low, high: Bounds, Python numbers.
    """

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, low: float, high: float) -> None:
        super().__init__(cache_size=1)
        self.low, self.high = check_interval(low, high)
        self.codomain = constraints.interval(self.low, self.high)  # type: ignore[no-untyped-call]

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and isinstance(other, IntervalMap)
            and (self.low, self.high) == (other.low, other.high)
        )

    def _inv_call(self, y: Tensor) -> Tensor:
        # torch would remember an inverted value too, and so forget the draw.
        x_drawn, y_drawn = self._cached_x_y
        return x_drawn if x_drawn is not None and y is y_drawn else self._inverse(y)

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _distances(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Distances from both edges, positive: 1 - t would lose the digits next to the upper."""
        first, last = interior(self.low, self.high, y.dtype)
        below = (y - self.low).clamp(min=first - self.low)
        return below, (self.high - y).clamp(min=self.high - last)


class IntervalSigmoid(IntervalMap):
    r""":math:`c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\sigma(y)`."""

    def _call(self, x: Tensor) -> Tensor:
        inner = interior(self.low, self.high, x.dtype)
        return (self.low + (self.high - self.low) * x.sigmoid()).clamp(*inner)

    def _inverse(self, y: Tensor) -> Tensor:
        below, above = self._distances(y)
        return below.log() - above.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns :math:`\log |dc/dy| = \log(\mathrm{high}-\mathrm{low}) + \log [σ(y)σ(-y)]`."""
        # logsigmoid rather than softplus, which drops e^-y beyond 20: 2e-9 in float64.
        return math.log(self.high - self.low) + F.logsigmoid(x) + F.logsigmoid(-x)


class IntervalProbit(IntervalMap):
    r""":math:`c = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\Phi(y)`, the normal CDF.

    Standard normal ``y`` become uniform.
    """

    def _call(self, x: Tensor) -> Tensor:
        inner = interior(self.low, self.high, x.dtype)
        # From the nearer edge: torch's ndtr has no digits left of a small probability.
        half = 0.5 * (self.high - self.low)
        below = self.low + half * torch.special.erfc(-x * math.sqrt(0.5))
        above = self.high - half * torch.special.erfc(x * math.sqrt(0.5))
        return torch.where(x < 0, below, above).clamp(*inner)

    def _inverse(self, y: Tensor) -> Tensor:
        below, above = self._distances(y)
        nearer = torch.minimum(below, above) / (self.high - self.low)
        distance: Tensor = torch.special.ndtri(nearer)  # negative
        return torch.where(below < above, distance, -distance)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns :math:`\log |dc/dy| = \log(\mathrm{high}-\mathrm{low}) + \log N(y; 0, 1)`."""
        return math.log(self.high - self.low) - 0.5 * (x * x + math.log(2 * math.pi))
