"""Checks of a guide against its model where Pyro is silent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance
from torch import Tensor

from pyro_mivae.distributions import RotatedPairs
from pyro_mivae.infer.supports import Bounds, is_discrete, support_bounds
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, Dims, latent_sites, unwrap

__all__ = [
    "explain_support",
    "require_code_support",
    "require_rsample",
    "require_same_measure",
    "require_same_measure_of",
    "require_support",
    "support_bounds",
    "without_rsample",
]

_ALONG = ", both along the sides of its turned square"


class NoReparameterisationError(ValueError, NotImplementedError):
    """A guide site has no reparameterised sampler; code for Pyro catches NotImplementedError."""


def without_rsample(trace: Any) -> list[str]:
    """Names the latent sites whose distribution has no reparameterised sampler."""
    nodes = trace.nodes
    return [n for n in latent_sites(trace) if not getattr(nodes[n]["fn"], "has_rsample", False)]


def require_rsample(guide_trace: Any) -> None:
    """Refuses guide sites whose gradient ``TraceMeanField_ELBO`` would lose in silence.

    Raises:
        NoReparameterisationError: If a site's distribution has no reparameterised sampler.
    """
    if names := without_rsample(guide_trace):
        kind = type(unwrap(guide_trace.nodes[names[0]]["fn"])).__name__
        raise NoReparameterisationError(
            f"guide site '{names[0]}' is a {kind}, "
            "which has no reparameterised sampler: TraceMeanField_ELBO would lose its gradient. "
            "Use elbo=TraceEnum_ELBO() to sum it out or elbo=TraceGraph_ELBO() for "
            "score-function gradients"
        )


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
        bounds = _that_exceed(q, p)
        if bounds is not None:
            posterior, prior = bounds
            raise ValueError(
                f"the guide's support exceeds the prior's at site '{name}': the guide "
                f"({type(unwrap(q)).__name__}) draws from {_interval(posterior)}, the prior "
                f"({type(unwrap(p)).__name__}) has density on {_interval(prior)} only"
                f"{_ALONG if isinstance(unwrap(p), RotatedPairs) else ''}. Use a guide of the "
                "prior's support (pyro_mivae.priors pairs them)"
            )


def moving_supports(model_trace: Any, marked: Any, codes: Codes) -> set[str]:
    """Finds the codes of which the guide's support is made from x'.

    Args:
        model_trace: A forward run of the model.
        marked: A run of the guide on x' that carries marks.
        codes: The code sites; those that the guide lacks are passed over.
    """
    moving = set()
    for name in codes:
        if name in marked:
            bounds = _comparable(*(t.nodes[name]["fn"] for t in (model_trace, marked)))[1]
            if bounds is not None and any(get_provenance(end) for end in bounds):
                moving.add(name)
    return moving


def require_code_support(
    model_trace: Any,
    guide_trace: Any,
    codes: Codes,
    scales: Mapping[str, Any] | None = None,
    moving: Collection[str] = (),
) -> None:
    """Refuses a guide that can't score the codes that the prior draws.

    The information term scores draws of the prior under the guide, so that a guide that is
    narrower than its prior has a bound of minus infinity. A support that moves with x' may be
    narrower, and hold all codes that can have made x': there no draw is known to be outside. The
    bounds are read on the host, so this is meant for the first step only.

    Args:
        model_trace: A forward run of the model.
        guide_trace: A run of the guide.
        codes: The code sites, latent in both.
        scales: Standard deviation of the normals that score a continuous code instead of the
            guide's density, by site; None for its density.
        moving: Codes of which the guide's support is made from x', see :func:`moving_supports`.

    Raises:
        ValueError: If at a code site the guide is narrower than the prior, or one of the two is a
            mass and the other a density.
    """
    require_same_measure(model_trace, guide_trace, codes)
    for name, dims in codes.items():
        p, q = model_trace.nodes[name]["fn"], guide_trace.nodes[name]["fn"]
        if (scales or {}).get(name) is not None and not is_discrete(q):
            continue
        bounds = _that_exceed(p, q, dims)
        value = model_trace.nodes[name]["value"]
        if dims is not None:
            value = value[..., [dims] if isinstance(dims, int) else dims]
        if bounds is not None and not _moves(bounds[1], q, value, name in moving):
            prior, posterior = bounds
            raise ValueError(
                f"the guide's support is narrower than the prior's at code site '{name}': the "
                f"guide ({type(unwrap(q)).__name__}) has density on {_interval(posterior)} only, "
                f"the prior ({type(unwrap(p)).__name__}) draws from {_interval(prior)}"
                f"{_ALONG if isinstance(unwrap(q), RotatedPairs) else ''}. Codes that are drawn "
                "from the prior are scored under the guide, and outside of its support the score "
                "is minus infinity. Use a guide of the prior's support (pyro_mivae.priors pairs "
                "them), or leave the information term out: mi_weight=0"
            )


def require_same_measure(model_trace: Any, guide_trace: Any, names: Iterable[str]) -> None:
    """Refuses sites whose ratio of model to guide is that of a mass to a density.

    Raises:
        ValueError: If one of model and guide is discrete at a site and the other is continuous.
    """
    for name in names:
        require_same_measure_of(name, *(t.nodes[name]["fn"] for t in (model_trace, guide_trace)))


def require_same_measure_of(name: str, p: Any, q: Any) -> None:
    """Refuses a mass and a density, likewise, given as distributions of one site."""
    kinds = is_discrete(p), is_discrete(q)
    if None not in kinds and kinds[0] != kinds[1]:
        words = ["discrete" if kind else "continuous" for kind in kinds]
        raise ValueError(
            f"at site '{name}' the prior ({type(unwrap(p)).__name__}) is {words[0]} and the guide "
            f"({type(unwrap(q)).__name__}) {words[1]}: a mass cannot be compared with a density, "
            "and their ratio is no information. Use the same kind in both: a relaxed prior with a "
            "relaxed guide, or a discrete guide, whose gradient comes from elbo=TraceEnum_ELBO() "
            "or TraceGraph_ELBO()"
        )


def _that_exceed(inner: Any, outer: Any, dims: Dims | None = None) -> tuple[Bounds, Bounds] | None:
    """Bounds of two supports if the first provably exceeds the second, else None."""
    try:
        outer_bounds, inner_bounds = _comparable(outer, inner)
        if outer_bounds is None or inner_bounds is None:
            return None
        if dims is not None:
            size = inner.event_shape[-1]
            outer_bounds = _of_dims(outer_bounds, dims, size)
            inner_bounds = _of_dims(inner_bounds, dims, size)
        return (inner_bounds, outer_bounds) if _exceeds(inner_bounds, outer_bounds) else None
    except RuntimeError as error:  # fake and meta tensors have no values to compare
        if type(error).__name__ not in ("DataDependentOutputException", "NotImplementedError"):
            raise
        return None


def _moves(bounds: Bounds, fn: Any, value: Tensor, moving: bool) -> bool:
    """Whether bounds of a guide's support depend, or may depend, on the datum.

    They may where they are made from x' (`moving`), and nowhere else if they are the same for all
    data and a code is outside.
    """
    low, high = bounds
    for end in bounds:
        data = end.reshape(-1, *end.shape[max(0, end.dim() - fn.event_dim) :])
        alone = end.dim() > fn.event_dim and len(data) < 2
        if alone or bool((data != data[:1]).any()):
            return True
    if not moving or isinstance(unwrap(fn), RotatedPairs):  # these bounds are along other axes
        return moving
    value = value.detach().cpu().double()
    return low.dim() > value.dim() or not bool(((value < low) | (value > high)).any())


def _of_dims(bounds: Bounds, dims: Dims, size: int) -> Bounds:
    """The bounds of some of the event dimensions."""
    chosen = [dims] if isinstance(dims, int) else dims
    by_dim = [end.dim() > 0 and end.shape[-1] == size for end in bounds]
    low, high = (end[..., chosen] if d else end for end, d in zip(bounds, by_dim, strict=True))
    return low, high


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
