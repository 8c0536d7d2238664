"""Supports of distributions: their bounds, masses and densities, draws that lie at an edge."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import TransformedDistribution, constraints, transforms

from pyro_mivae.distributions import RotatePairs
from pyro_mivae.traces.scoring import flat_transforms, layers
from pyro_mivae.traces.sites import unwrap

Bounds = tuple[Tensor, Tensor]

EDGE_REMEDY = (
    "Use double precision, a higher temperature, or at the site a variable without edges that the "
    "model maps (a Normal or Logistic and its sigmoid)"
)
"""What to do where draws lie at an edge of their support."""

_CIRCULAR = (torch.distributions.VonMises, dist.SineBivariateVonMises, dist.SineSkewed)
"""Report the real line; draws are angles, and the density repeats itself."""


def support_bounds(fn: Any) -> Bounds | None:
    """Bounds (low, high) of a distribution's support, or None where they are not known.

    Bounds that are returned are those of the support and not wider: the ends of an interval are
    followed through monotone maps, and of turned pairs the box around them is taken. Of a map of
    another kind the codomain is believed if the distribution before it fills the map's domain,
    except for the whole real line, which many maps report that do not reach it.
    """
    fn = unwrap(fn)
    if isinstance(fn, (dist.Delta, *_CIRCULAR)):
        return None  # report the real line
    if isinstance(fn, torch.distributions.MixtureSameFamily):
        return _of_mixture(fn)
    if isinstance(fn, dist.MaskedMixture):
        first, second = support_bounds(fn.component0), support_bounds(fn.component1)
        if first is None or second is None:
            return None
        mask = fn.mask.cpu()
        low, high = (torch.where(mask, b, a) for a, b in zip(first, second, strict=True))
        return low, high
    if type(fn).support is not TransformedDistribution.support:  # a class that knows its own
        declared = _declared_bounds(fn)
        if declared is not None or not isinstance(fn, TransformedDistribution):
            return declared
    bounds, believed = support_bounds(fn.base_dist), False
    for transform in flat_transforms(fn.transforms):
        bounds, believed = _image(transform, bounds, believed)
    return None if believed and bounds is not None and _is_everything(bounds) else bounds


def is_discrete(fn: Any) -> bool | None:
    """Whether the density of a distribution is a mass; None where that is not known."""
    fn = unwrap(fn)
    if isinstance(fn, dist.Delta):
        return None
    for name in ("_component_distribution", "component0"):
        if name in vars(fn):
            return is_discrete(vars(fn)[name])
    if isinstance(fn, TransformedDistribution) and (
        type(fn).support is TransformedDistribution.support
    ):
        return is_discrete(fn.base_dist)
    try:
        return bool(fn.support.is_discrete)
    except (AttributeError, NotImplementedError, RuntimeError):
        return None


def at_edge(fn: Any, value: Tensor) -> Tensor | None:
    """Which numbers of a draw lie at an edge of the support, where rounding has put them.

    A draw next to an edge is rounded onto it or clamped (``RelaxedBernoulli``, low temperature),
    and its density there is not that of the draw. A support without a finite end has no such edge,
    nor have uniform distributions, whose density is the same at the edge, and discrete ones.

    Args:
        fn: The distribution.
        value: The draw.

    Returns:
        Booleans of the value's shape, or None where no number can lie at an edge.
    """
    base = unwrap(fn)
    if not value.is_floating_point() or is_discrete(base) or _is_uniform(base):
        return None
    bounds = support_bounds(base)
    if bounds is None:
        return None
    info, hard = torch.finfo(value.dtype), isinstance(base, _STRAIGHT_THROUGH)
    value = getattr(value, "_unquantize", value)  # what these score is the draw before rounding
    edge = torch.zeros_like(value, dtype=torch.bool)
    on_simplex = _is_simplex(base)
    for end, sign in zip(bounds, (1, -1), strict=True):
        if on_simplex and sign < 0:
            continue  # the other numbers tell what the largest has lost
        end = end.to(value)
        reach = torch.where(end == 0, info.eps if hard else info.tiny, info.eps * end.abs())
        near = sign * (value - end) <= reach
        edge |= near & end.isfinite()
    return edge


_STRAIGHT_THROUGH = (
    dist.RelaxedBernoulliStraightThrough,
    dist.RelaxedOneHotCategoricalStraightThrough,
)


def _is_uniform(fn: Any) -> bool:
    """Whether the density is constant: uniform, with affine maps or turned."""
    if isinstance(fn, TransformedDistribution):
        flat = (transforms.AffineTransform, RotatePairs)
        plain = all(isinstance(part, flat) for part in flat_transforms(fn.transforms))
        return plain and _is_uniform(unwrap(fn.base_dist))
    return isinstance(fn, torch.distributions.Uniform)


def _is_simplex(fn: Any) -> bool:
    try:
        return fn.support is constraints.simplex
    except (AttributeError, NotImplementedError):
        return False


def _of_mixture(fn: Any) -> Bounds | None:
    """From the lowest to the highest end of the components."""
    components = fn.component_distribution
    bounds = support_bounds(components)
    if bounds is None:
        return None
    shape, place = components.batch_shape + components.event_shape, -1 - len(components.event_shape)
    low, high = (end.expand(shape) for end in bounds)
    return low.amin(place), high.amax(place)


def _declared_bounds(fn: Any) -> Bounds | None:
    try:
        return _constraint_bounds(fn.support)
    except (AttributeError, NotImplementedError):
        return None  # undefined, or (on the meta device) not to be read


def _constraint_bounds(constraint: Any) -> Bounds | None:
    while hasattr(constraint, "base_constraint"):  # constraints.independent
        constraint = constraint.base_constraint
    low = getattr(constraint, "lower_bound", None)
    high = getattr(constraint, "upper_bound", None)
    if constraint in (constraints.boolean, constraints.simplex, constraints.one_hot):
        low, high = 0.0, 1.0
    elif isinstance(constraint, constraints.multinomial):
        low = 0.0
    elif not isinstance(constraint, type(constraints.real)) and low is None and high is None:
        return None
    ends = -torch.inf if low is None else low, torch.inf if high is None else high
    return _on_host(ends[0]), _on_host(ends[1])


def _on_host(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu().double()


def _is_everything(bounds: Bounds) -> bool:
    return bool((bounds[0] + bounds[1]).isnan().all())


def _image(transform: Any, bounds: Bounds | None, believed: bool) -> tuple[Bounds | None, bool]:
    """Where a transform takes an interval; whether a report of a transform is trusted for that."""
    if isinstance(transform, RotatePairs):
        return (None if bounds is None else transform.box(*bounds)), believed
    if bounds is None:
        return None, believed
    codomain = _constraint_bounds(transform.codomain)
    if isinstance(transform, transforms.AbsTransform):
        low, high = bounds[0].abs(), bounds[1].abs()
        crosses = (bounds[0] < 0) & (bounds[1] > 0)
        return (
            torch.where(crosses, 0.0, torch.minimum(low, high)),
            torch.maximum(low, high),
        ), believed
    if _is_monotone(transform):
        ends = [_apply(transform, end) for end in bounds]
        if any(end is None or bool(end.isnan().any()) for end in ends):
            return None, believed
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        if codomain is not None:  # some maps stop short of their ends
            low, high = _snapped(low, codomain[0]), _snapped(high, codomain[1])
        return (low, high), believed
    domain = _constraint_bounds(transform.domain)
    if domain is None or codomain is None or not transform.bijective:
        return None, believed
    fills = bool(((bounds[0] <= domain[0]) & (bounds[1] >= domain[1])).all())
    return (codomain, True) if fills else (None, believed)


def _snapped(end: Tensor, edge: Tensor) -> Tensor:
    close = edge.isfinite() & ((end - edge).abs() <= 1e-9 * (1 + edge.abs()))
    return torch.where(close, edge, end)


def _is_monotone(transform: Any) -> bool:
    """Whether a transform maps number by number, each by a monotone function."""
    if isinstance(transform, transforms.AffineTransform):
        return True
    try:
        by_number = transform.domain.event_dim == 0 and transform.codomain.event_dim == 0
        return (
            by_number and transform.bijective and bool(torch.as_tensor(transform.sign != 0).all())
        )
    except (AttributeError, NotImplementedError):
        return False


def _apply(transform: Any, end: Tensor) -> Any:
    """A transform of an end, around the memory of its last draw; None where it does not work."""
    try:
        with torch.no_grad():
            if isinstance(transform, transforms._InverseTransform):
                inverse: Any = transform.inv
                return _on_host(inverse._inverse(end.to(_device(inverse))))
            return _on_host(transform._call(end.to(_device(transform))))
    except (KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def _device(transform: Any) -> torch.device:
    """The device of a transform's parameters."""
    parts = [transform, *layers(vars(transform).get("distribution"))]
    for part in parts:
        for value in vars(part).values() if hasattr(part, "__dict__") else ():
            if isinstance(value, Tensor):
                return value.device
    return torch.device("cpu")
