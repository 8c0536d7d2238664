"""Sites of traces: wrappers of distributions, latent sites, densities of event dimensions."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.distributions import CorrelatedNormal, CorrelatedSquashedNormal
from pyro_mivae.traces.scoring import forget_derived, log_prob, site_density

Dims = slice | int | list[int]
"""Which event dimensions of a site are code."""

Codes = Mapping[str, Dims | None]
"""Code sites; None where the whole site is code."""

_WRAPPERS = (
    torch.distributions.Independent,
    dist.MaskedDistribution,
    dist.ExpandedDistribution,
)


def as_codes(codes: str | Iterable[str] | Codes | None) -> dict[str, Dims | None] | None:
    """Makes a mapping of sites to dimensions from what a user may write for it."""
    if codes is None:
        return None
    if isinstance(codes, str):
        codes = (codes,)
    by_site = dict(codes) if isinstance(codes, Mapping) else dict.fromkeys(codes)
    if not by_site:
        raise ValueError("codes is empty: name a latent site, or pass None for all of them")
    for site, dims in by_site.items():
        if dims is not None and not isinstance(dims, slice):
            indices = dims if isinstance(dims, list) else [dims]
            if not all(type(index) is int for index in indices):
                raise ValueError(
                    f"codes={{'{site}': {dims!r}}}: expected None for the whole site, a slice, an "
                    "int or a list of ints"
                )
    return by_site


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Returns names of sites as a tuple, from one name or several."""
    return (names,) if isinstance(names, str) else tuple(names)


def unwrap(fn: Any) -> Any:
    """Removes ``.to_event()``, ``.mask()`` and generic ``.expand()`` wrappers."""
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    return fn


def unmasked(fn: Any) -> Any:
    """Returns the distribution that the draw came from: masks hide densities, not draws."""
    base = unwrap(fn)
    added = len(fn.event_shape) - len(base.event_shape)
    shape = fn.batch_shape + fn.event_shape[:added]
    return expanded(base, shape).to_event(added)


def expanded(fn: Any, shape: torch.Size) -> Any:
    """Expands a distribution's batch shape; returns the same one where it has the shape."""
    if fn.batch_shape == shape:
        return fn
    forget_derived(fn)
    try:
        return fn.expand(shape)
    except (NotImplementedError, TypeError, ValueError, RuntimeError):
        return dist.ExpandedDistribution(fn, shape)  # repeats values, asks nothing of `fn`


def latent_sites(trace: Any) -> list[str]:
    """Names the latent sample sites of a trace, without the plates' subsamples."""
    return [
        name
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
    ]


def is_data(site: Mapping[str, Any]) -> bool:
    """Tells whether data stand at a sample statement: observed, and drawn by the model if not.

    Sites that only look observed are no data: ``pyro.deterministic``, ``pyro.factor``, auxiliary
    sites, the plates' subsamples, and points that are observed at themselves (``Delta``, as
    ``poutine.reparam`` leaves it in the place of a latent site). A ``Delta`` that is observed at
    another value is a decoder without noise, and its value is data.
    """
    if not site["is_observed"] or site_is_subsample(site):
        return False
    infer = site["infer"] or {}
    if infer.get("_deterministic") or infer.get("is_auxiliary"):
        return False
    point = unwrap(site["fn"])
    if isinstance(point, dist.Delta):
        return not _is_mere_point(site) and not _at_itself(point, site["value"])
    return not isinstance(point, dist.Unit)


def _at_itself(point: Any, value: Any) -> bool:
    """Whether a point is observed where it is; so are values that can't be read."""
    if value is None or value is point.v:
        return value is not None
    if value.is_meta:
        return True
    try:
        return bool((point.v == value).all())
    except RuntimeError:  # shapes that don't fit, fake tensors
        return True


def points(trace: Any, names: Iterable[str]) -> list[str]:
    """Picks the sites that are points (``Delta``), without a density of their own."""
    return [name for name in names if isinstance(unwrap(trace.nodes[name]["fn"]), dist.Delta)]


def observed_sites(trace: Any) -> list[str]:
    """Returns the observed sites whose density counts: data, and factors, but no mere points.

    A point that is masked out, as ``poutine.reparam`` leaves it, or that
    ``pyro.deterministic`` made, has no density.
    """
    return [name for name in trace.observation_nodes if not _is_mere_point(trace.nodes[name])]


def _is_mere_point(site: Mapping[str, Any]) -> bool:
    if site_is_subsample(site) or (site["infer"] or {}).get("_deterministic"):
        return True
    fn, masked_out = site["fn"], site["mask"] is False
    while isinstance(fn, torch.distributions.Independent | dist.MaskedDistribution):
        masked_out |= isinstance(fn, dist.MaskedDistribution) and fn._mask is False
        fn = fn.base_dist
    return masked_out and isinstance(unwrap(fn), dist.Delta)


def masks_of(site: Mapping[str, Any], device: torch.device) -> list[Tensor]:
    """Returns the masks around a site and in its distribution, over batch and event dimensions."""
    fn, masks = site["fn"], [(site["mask"], site["fn"].event_dim)]
    while isinstance(fn, _WRAPPERS):
        if isinstance(fn, dist.MaskedDistribution):
            masks.append((fn._mask, fn.event_dim))
        fn = fn.base_dist
    tensors = [
        (torch.as_tensor(mask, device=device), event_dim)
        for mask, event_dim in masks
        if mask is not None and mask is not True
    ]
    return [mask.reshape(mask.shape + (1,) * event_dim) for mask, event_dim in tensors]


def keep_masked(site: Mapping[str, Any], value: Tensor, data: Any) -> Tensor:
    """Returns a value with the data in place of what is masked: no density counts it.

    The guide must not read what the density does not count.

    Args:
        site: The sample statement.
        value: A value of the site.
        data: What is observed there; None where nothing is.
    """
    masks = masks_of(site, value.device)
    if not masks or not isinstance(data, Tensor):
        return value
    counted = functools.reduce(torch.logical_and, masks)
    return torch.where(counted, value, data.to(value.dtype))


def spread(value: Tensor, fn: Any) -> Tensor:
    """Repeats a value along further dimensions on the left of a distribution."""
    shape = fn.shape()
    return value.expand(shape) if value.dim() < len(shape) else value


def _factors(fn: Any, site: str) -> tuple[Any, list[Any]]:
    """The univariate distribution of each event dimension, and the masks around it."""
    base, masks = fn, []
    while isinstance(base, dist.MaskedDistribution | torch.distributions.Independent):
        if isinstance(base, dist.MaskedDistribution):
            masks.append(base._mask)
        base = base.base_dist
    if not fn.event_shape or base.event_shape:
        raise ValueError(
            f"codes slices the event dimensions of site '{site}', but its {type(base).__name__} "
            f"of event shape {tuple(base.event_shape)} does not factorise over them: expected "
            "a univariate distribution with .to_event(1); name the whole site instead"
        )
    return base, masks


def elementwise(fn: Any, value: Tensor, site: str) -> Tensor:
    """Computes the log-probability of each event dimension of a factorised distribution.

    Args:
        fn: ``Independent`` over a univariate distribution (what ``.to_event()`` makes).
        value: A value, shape ``batch_shape + event_shape``.
        site: The site's name, for the message.

    Returns:
        log-probabilities in nats, shape ``batch_shape + event_shape``.

    Raises:
        ValueError: If the distribution does not factorise over event dimensions.
    """
    base, masks = _factors(fn, site)
    each = log_prob(base, value, site)
    for mask in masks:
        if isinstance(mask, Tensor):
            mask = mask.reshape(mask.shape + (1,) * (each.dim() - mask.dim()))
        each = scale_and_mask(each, mask=mask)
    return each


def is_one_hot(fn: Any) -> bool:
    """Tells whether a site draws one-hot vectors, each of them one variable."""
    return isinstance(unwrap(fn), torch.distributions.OneHotCategorical)


def dimension_shape(fn: Any) -> torch.Size:
    """Returns the shape of a site's dimensions: its event shape, but a one-hot vector is one."""
    shape: torch.Size = fn.event_shape
    return shape[:-1] if is_one_hot(fn) else shape


def marginals(fn: Any, site: str) -> Any:
    """Returns the marginal of every dimension, without masks.

    Args:
        fn: A univariate or one-hot distribution with or without ``.to_event()``, or a multivariate
            normal.
        site: The site's name, for the message.

    Returns:
        A distribution of batch_shape ``fn.batch_shape + dimension_shape(fn)``.

    Raises:
        ValueError: If the marginals are not known.
    """
    base = unwrap(fn)
    shape = fn.batch_shape + dimension_shape(fn)
    normals = (
        torch.distributions.MultivariateNormal,
        torch.distributions.LowRankMultivariateNormal,
    )
    if isinstance(base, CorrelatedNormal | CorrelatedSquashedNormal):
        return expanded(base.marginals, shape)
    if isinstance(base, normals):
        return expanded(dist.Normal(base.mean, base.variance.sqrt()), shape)
    if base.event_shape and not is_one_hot(fn):
        raise ValueError(
            f"the dimensions of site '{site}' have marginals that are not known: expected a "
            "univariate distribution, with .to_event() or without, a one-hot category or a "
            f"multivariate normal, found {type(base).__name__} of event shape "
            f"{tuple(base.event_shape)}"
        )
    return expanded(base, shape)


def chosen_dims(dims: Dims, fn: Any, site: str, device: torch.device) -> Tensor:
    """Makes a mask over the last event dimension of a factorised distribution."""
    _factors(fn, site)
    places = range(fn.event_shape[-1])
    try:
        selected = list(places[dims]) if isinstance(dims, slice) else _each(places, dims)
    except IndexError:
        selected = []
    if not selected or len(set(selected)) < len(selected):
        raise ValueError(
            f"codes={{'{site}': {dims!r}}} picks no dimension, one twice or one that is not there: "
            f"the last event dimension of site '{site}' has size {len(places)}"
        )
    chosen = torch.zeros(len(places), dtype=torch.bool, device=device)
    chosen[selected] = True
    return chosen


def _each(places: range, dims: int | list[int]) -> list[int]:
    return [places[d] for d in (dims if isinstance(dims, list) else [dims])]


def site_log_prob(site: dict[str, Any], dims: Dims | None) -> Tensor:
    """Computes the scaled and masked log-probability of a site or of some of its dimensions."""
    if dims is None:
        density = site_density(site)
    else:
        each = elementwise(site["fn"], site["value"], site["name"])
        chosen = each[..., dims if not isinstance(dims, int) else [dims]]
        density = chosen.flatten(each.dim() - len(site["fn"].event_shape)).sum(-1)
    scaled: Tensor = scale_and_mask(density, site["scale"], site["mask"])
    return scaled
