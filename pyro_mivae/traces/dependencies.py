"""Which latent sites the density of a site depends on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.inspect import get_dependencies
from torch import Tensor

from pyro_mivae.isolation import undisturbed
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.scoring import site_density
from pyro_mivae.traces.sites import latent_sites, unwrap

logger = logging.getLogger(__name__)

_REDRAWS = 3
"""A new draw of a discrete site may be the old one."""


def dependencies(
    fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, frozenset[str]]:
    """Finds the latent sites upstream of each sample site, itself excluded.

    Marks on the drawn values are followed to the densities. Where foreign code rejects or loses
    them (a buffer written in place, NumPy), the sites are redrawn one at a time, and densities
    that move are noticed. The random state is left as it was.

    Args:
        fn: A Pyro model or guide.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        Ancestors by name of every latent and observed site. Points (``Delta``,
        ``pyro.deterministic``) are no sites of their own: what depends on them depends on what
        they are made of.
    """
    with torch.no_grad(), torch.random.fork_rng(), pyro.validation_enabled(False):
        trace = poutine.trace(fn).get_trace(*args, **kwargs)
        try:
            marked = get_dependencies(fn, args, kwargs)["prior_dependencies"]
            direct = {name: set(sources) for name, sources in marked.items()}
            fresh = run_again(fn, args, kwargs, plate_indices(trace))
            lost = {name for name in _moved(trace, fresh) if not direct.get(name, set()) - {name}}
            reason = f"the mark of what {sorted(lost)} depend on was lost" if lost else None
        except Exception as error:  # whatever foreign code does with a tensor that is marked
            reason = f"{type(error).__name__}: {error}"
        if reason:
            logger.debug("sites are redrawn to find their dependencies (%s)", reason)
            direct = _by_redrawing(fn, args, kwargs, trace)
    upstream: dict[str, frozenset[str]] = {}
    for name in _sites(trace):  # in their order: what is upstream comes first
        parents = direct.get(name, set()) - {name}
        upstream[name] = frozenset(parents).union(*(upstream[parent] for parent in parents))
    return upstream


def entangled_sites(call: Call, model_trace: Any, guide_trace: Any) -> frozenset[str]:
    """Finds the latent sites whose analytic KL, at draws of the guide, would be wrong.

    At a draw of the other sites KL(q(z|..) || p(z|..)) has the right mean if z, given what its q
    depends on, is independent of what its p depends on: if nothing upstream of z in the model
    depends on z in the guide. That holds where model and guide have their sites in one order; a
    guide that runs bottom-up breaks it.

    Args:
        call: The pair and its arguments.
        model_trace: A run of the model at the guide's draws.
        guide_trace: A run of the guide.
    """
    in_model, in_guide = latent_sites(model_trace), latent_sites(guide_trace)
    model_order = [name for name in in_model if name in in_guide]
    guide_order = [name for name in in_guide if name in in_model]
    if model_order == guide_order:
        return frozenset()
    place = {name: number for number, name in enumerate(guide_order)}
    turned = {
        name: {other for other in model_order[:number] if place[other] > place[name]}
        for number, name in enumerate(model_order)
        if name in place
    }
    device = guide_trace.nodes[guide_order[0]]["value"].device
    try:
        with undisturbed((call.model, call.guide), device):
            of_model = dependencies(call.model, call.args, call.kwargs)
            of_guide = dependencies(call.guide, call.args, call.kwargs)
    except Exception as error:  # foreign code: each site that may be concerned is
        logger.debug("the dependencies of the sites could not be found: %s", error)
        return frozenset(name for name, others in turned.items() if others)
    return frozenset(
        name
        for name, others in turned.items()
        for other in others & of_model.get(name, frozenset())
        if name in of_guide.get(other, ())
    )


def _by_redrawing(
    fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], trace: Any
) -> dict[str, set[str]]:
    direct: dict[str, set[str]] = {name: set() for name in _sites(trace)}
    values = {name: v for name, v in latent_values(trace).items() if name in direct}
    for parent in values:
        given = {name: value for name, value in values.items() if name != parent}
        for _ in range(_REDRAWS):
            redrawn = run_again(fn, args, kwargs, {**plate_indices(trace), **given})
            for name in _moved(trace, redrawn):
                direct[name].add(parent)
    before: set[str] = set()
    for name, parents in direct.items():  # what comes later is no parent
        parents &= before
        before.add(name)
    return direct


def _sites(trace: Any) -> list[str]:
    """Sites with a density, in their order."""
    return [
        name
        for name in (*latent_sites(trace), *trace.observation_nodes)
        if not isinstance(unwrap(trace.nodes[name]["fn"]), dist.Delta)
    ]


def _moved(trace: Any, other: Any) -> set[str]:
    """The sites whose density at the values of `trace` is another in `other`."""
    return {
        name
        for name in _sites(trace)
        if name not in other or not _close(*(_log_prob(t, trace, name) for t in (trace, other)))
    }


def _log_prob(trace: Any, values: Any, name: str) -> Tensor:
    site = trace.nodes[name]
    return site_density({**site, "value": values.nodes[name]["value"]})


def _close(one: Tensor, other: Tensor) -> bool:
    # Two runs of a network may differ by rounding, which a narrow density makes much of; a new
    # draw of a parent moves some of the data by more.
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=1e-2, atol=1e-2, equal_nan=True
    )
