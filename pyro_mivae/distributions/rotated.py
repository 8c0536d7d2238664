"""Pairs of dimensions turned by 45 degrees."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Transform, constraints

from pyro_mivae.distributions.interval import check_interval, interior

__all__ = ["RotatePairs", "RotatedPairs"]

Bounds = tuple[Tensor, Tensor]


class RotatePairs(Transform):
    r"""The turn of dimensions 0 and 1, 2 and 3, ... of a square (low, high)² by 45 degrees.

    .. math:: c_0 = m + (a_0 - a_1) / \sqrt 2, \qquad c_1 = m + (a_0 + a_1 - 2m) / \sqrt 2 ,

    about the centre :math:`m = (\mathrm{low} + \mathrm{high}) / 2` of the square, which stays where
    it is. Like the maps to an interval, it remembers its last draw. A value that rounding has put
    outside of the square counts as the nearest value inside.

    Args:
        low, high: Bounds of the square before the turn, Python numbers.
    """

    domain = constraints.real_vector
    bijective = True

    def __init__(self, low: float, high: float) -> None:
        super().__init__(cache_size=1)
        self.low, self.high = check_interval(low, high)
        self.codomain = _Diamonds(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RotatePairs) and (self.low, self.high) == (other.low, other.high)

    @property
    def _centre(self) -> float:
        return 0.5 * (self.low + self.high)

    def _call(self, x: Tensor) -> Tensor:
        first, second = self._split(x)
        return self._join(first - second, first + second)

    def _inv_call(self, y: Tensor) -> Tensor:
        # torch would remember an inverted value too, and so forget the draw.
        x_drawn, y_drawn = self._cached_x_y
        return x_drawn if x_drawn is not None and y is y_drawn else self._inverse(y)

    def _inverse(self, y: Tensor) -> Tensor:
        x = self._turn_back(y)
        inside = x.clamp(*interior(self.low, self.high, x.dtype))
        largest = max(abs(self.low), abs(self.high))
        rounding = 8 * torch.finfo(x.dtype).eps * largest
        return torch.where((x - inside).abs() <= rounding, inside, x)

    def _turn_back(self, y: Tensor) -> Tensor:
        first, second = self._split(y)
        return self._join(first + second, second - first)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the second dimensions of the pairs, from the centre."""
        return x[..., ::2] - self._centre, x[..., 1::2] - self._centre

    def _join(self, first: Tensor, second: Tensor) -> Tensor:
        both: Tensor = torch.stack([first, second], -1).flatten(-2)
        return self._centre + math.sqrt(0.5) * both

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns 0, shape ``batch_shape``."""
        return x.new_zeros(x.shape[:-1])

    def box(self, low: Tensor, high: Tensor) -> Bounds:
        """Finds the smallest box, along the axes, around a box that is turned.

        Args:
            low: Lower corner of the box, one number or (..., dim); infinite where it has no end.
            high: Upper corner of the box.
        """
        (a0, b0), (a1, b1) = self._sides(low, high)
        return self._join(a0 - b1, a0 + a1), self._join(b0 - a1, b0 + b1)

    def box_back(self, low: Tensor, high: Tensor) -> Bounds:
        """Finds the smallest box, along the square's axes, around a box that is turned back."""
        (a0, b0), (a1, b1) = self._sides(low, high)
        return self._join(a0 + a1, a1 - b0), self._join(b0 + b1, b1 - a0)

    def _sides(self, low: Tensor, high: Tensor) -> tuple[Bounds, Bounds]:
        """Lower and upper end, from the centre, of the first and of the second dimensions."""
        ends = (end.expand(2) if end.dim() == 0 else end for end in (low, high))
        (a0, a1), (b0, b1) = map(self._split, ends)
        return (a0, b0), (a1, b1)


class _Diamonds(constraints.Constraint):
    """Vectors whose pairs lie in the turned square, edges included."""

    event_dim = 1

    def __init__(self, rotation: RotatePairs) -> None:
        self.rotation = rotation

    def check(self, value: Tensor) -> Any:
        """Whether each vector lies inside, shape ``batch_shape``."""
        x = self.rotation._inverse(value)
        return ((x >= self.rotation.low) & (x <= self.rotation.high)).all(-1)

    def __repr__(self) -> str:
        return f"Diamonds({self.rotation.low}, {self.rotation.high})"


class RotatedPairs(dist.TransformedDistribution):  # type: ignore[misc]  # Pyro has no types
    """A distribution on the cube (low, high)^dim with every pair of dimensions turned.

    The KL divergence of two on the same square is that of their bases.

    Args:
        base: Distribution of event_shape (dim,), dim even.
        low, high: Bounds of the support of the base, Python numbers.
    """

    def __init__(
        self, base: TorchDistribution, low: float, high: float, validate_args: bool | None = None
    ) -> None:
        if len(base.event_shape) != 1 or base.event_shape[0] % 2:
            raise ValueError(
                "expected a vector with an even number of dimensions, which are turned in pairs, "
                f"found event_shape {tuple(base.event_shape)}"
            )
        super().__init__(base, RotatePairs(low, high), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        new = self._get_checked_instance(RotatedPairs, _instance)
        return super().expand(batch_shape, _instance=new)

    @property
    def mean(self) -> Tensor:
        """The mean of the base, turned; a base without a mean has none here."""
        mean: Tensor = self.transforms[0]._call(self.base_dist.mean)
        return mean

    @property
    def variance(self) -> Tensor:
        """The variances, of a base whose dimensions are independent.

        Raises:
            NotImplementedError: If they are not known to be.
        """
        if not _independent(self.base_dist):
            raise NotImplementedError(
                "RotatedPairs.variance: expected a base of independent dimensions, as "
                f"Normal(...).to_event(1) is, found {type(self.base_dist).__name__}, whose "
                "covariances count too. Estimate it from draws"
            )
        variance: Tensor = self.base_dist.variance
        mean = 0.5 * (variance[..., ::2] + variance[..., 1::2])
        return torch.stack([mean, mean], -1).flatten(-2)


def _independent(base: Any) -> bool:
    """Whether dimensions of an event are a batch that was declared to be one."""
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    return not base.event_shape
