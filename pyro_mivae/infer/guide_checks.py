"""Checks of weights, and of a guide against its model where Pyro is silent."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints, transforms

from pyro_mivae.distributions import RotatedPairs, RotatePairs
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import latent_sites, unwrap

Bounds = tuple[Tensor, Tensor]

_ALONG = ", both along the sides of its turned square"


def require_rsample(guide_trace: Any) -> None:
    """Refuses guide sites whose gradient ``TraceMeanField_ELBO`` would lose in silence.

    Raises:
        ValueError: If a site's distribution has no reparameterised sampler.
    """
    for name in latent_sites(guide_trace):
        site = guide_trace.nodes[name]
        if not getattr(site["fn"], "has_rsample", False):
            raise ValueError(
                f"guide site '{name}' is a {type(unwrap(site['fn'])).__name__}, which has no "
                "reparameterised sampler: TraceMeanField_ELBO would lose its gradient. Use "
                "elbo=TraceEnum_ELBO() to sum it out or elbo=TraceGraph_ELBO() for "
                "score-function gradients"
            )


def support_bounds(fn: Any) -> Bounds | None:
    """Bounds (low, high) of a distribution's support, or None where they are not known.

    Affine maps are unrolled, since a transformed distribution may report the whole
    real line, and of turned pairs it is the box around them; any other map is believed only if
    it reports an interval.
    """
    fn = unwrap(fn)
    if isinstance(fn, dist.Delta):
        return None  # reports the real line, whatever its point
    if not isinstance(fn, torch.distributions.TransformedDistribution):
        try:
            return _constraint_bounds(fn.support)
        except (AttributeError, NotImplementedError):
            return None  # undefined, or (on the meta device) not to be read
    bounds = support_bounds(fn.base_dist)
    for transform in _flat(fn.transforms):
        if isinstance(transform, transforms.AffineTransform):
            if bounds is not None:
                loc, scale = _on_host(transform.loc), _on_host(transform.scale)
                ends = [loc + scale * end for end in bounds]
                bounds = torch.minimum(*ends), torch.maximum(*ends)
        elif isinstance(transform, RotatePairs):
            bounds = None if bounds is None else transform.box(*bounds)
        else:
            codomain = _constraint_bounds(transform.codomain)
            everything = codomain is not None and bool((codomain[0] + codomain[1]).isnan().all())
            bounds = None if everything else codomain  # a permutation reports the real line too
    return bounds


def _flat(chain: Any) -> list[Any]:
    flat: list[Any] = []
    for transform in chain:
        if isinstance(transform, transforms.ComposeTransform):
            flat += _flat(transform.parts)
        elif isinstance(transform, transforms.IndependentTransform):
            flat += _flat([transform.base_transform])
        else:
            flat.append(transform)
    return flat


def _constraint_bounds(constraint: Any) -> Bounds | None:
    while hasattr(constraint, "base_constraint"):  # constraints.independent
        constraint = constraint.base_constraint
    if constraint is constraints.boolean:
        ends: tuple[Any, Any] = (0.0, 1.0)
    elif isinstance(constraint, type(constraints.real)):
        ends = (-torch.inf, torch.inf)
    else:
        low = getattr(constraint, "lower_bound", None)
        high = getattr(constraint, "upper_bound", None)
        if low is None and high is None:
            return None
        ends = (-torch.inf if low is None else low, torch.inf if high is None else high)
    return _on_host(ends[0]), _on_host(ends[1])


def _on_host(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu().double()


def require_support(model_trace: Any, guide_trace: Any) -> None:
    """Refuses a guide whose support provably exceeds the prior's.

    A Normal guide under a Uniform prior has finite losses, and no gradient, until a
    draw leaves the prior's support. A narrower support is legitimate. The bounds are
    read on the host, so this is meant for the first step only.

    Raises:
        ValueError: If a site's guide can draw where its prior has no density.
    """
    for name in latent_sites(guide_trace):
        if name not in model_trace or model_trace.nodes[name]["is_observed"]:
            continue
        p, q = model_trace.nodes[name]["fn"], guide_trace.nodes[name]["fn"]
        try:
            prior, posterior = _comparable(p, q)
            if prior is None or posterior is None or not _exceeds(posterior, prior):
                continue
        except RuntimeError as error:  # fake and meta tensors have no values to compare
            if type(error).__name__ not in ("DataDependentOutputException", "NotImplementedError"):
                raise
            continue
        else:
            raise ValueError(
                f"the guide's support exceeds the prior's at site '{name}': the guide "
                f"({type(unwrap(q)).__name__}) draws from {_interval(posterior)}, the prior "
                f"({type(unwrap(p)).__name__}) has density on {_interval(prior)} only"
                f"{_ALONG if isinstance(unwrap(p), RotatedPairs) else ''}. Use a guide of the "
                "prior's support (pyro_mivae.priors pairs them)"
            )


def _comparable(p: Any, q: Any) -> tuple[Bounds | None, Bounds | None]:
    """Bounds of a prior's and a posterior's support, along the sides of a prior that is turned."""
    p, q = unwrap(p), unwrap(q)
    if not isinstance(p, RotatedPairs):
        return support_bounds(p), support_bounds(q)
    square, rotation = support_bounds(p.base_dist), p.transforms[0]
    if not isinstance(q, RotatedPairs):
        box = support_bounds(q)
        return square, None if box is None else rotation.box_back(*box)
    # One turned about another centre is no box along these sides.
    return square, support_bounds(q.base_dist) if q.transforms[0] == rotation else None


def explain_support(call: Call) -> None:
    """Compares the supports where Pyro's validation has already refused a draw.

    Pyro then names the value and not the cause; if the guide's support is it, the error
    of :func:`require_support` is raised.
    """
    try:
        guide_trace = call.trace_guide()
        replayed = poutine.replay(call.model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*call.args, **call.kwargs)
    except Exception:
        return  # the first error says more
    require_support(model_trace, guide_trace)


def _exceeds(posterior: Bounds, prior: Bounds) -> bool:
    tolerance = 1e-6 * (1 + torch.where(prior[0].isinf(), 0.0, prior[0].abs()).max())
    below, above = posterior[0] < prior[0] - tolerance, posterior[1] > prior[1] + tolerance
    return bool(below.any() or above.any())


def _interval(bounds: Bounds) -> str:
    return f"({float(bounds[0].min()):g}, {float(bounds[1].max()):g})"
