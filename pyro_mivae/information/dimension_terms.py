"""Bounds and KL of each dimension of the latent sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro.ops.provenance import detach_provenance
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mivae.batches import Data, Prepare, as_tensors, batches
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.guide_checks import require_same_measure
from pyro_mivae.information.posteriors import data_dims, require_plate, require_roots
from pyro_mivae.isolation import evaluation
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies, entangled_sites
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.scoring import log_prob
from pyro_mivae.traces.sites import as_names, dimension_shape, latent_sites, marginals


def mi_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    channel: Channel,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    r"""The bound on :math:`I(c_d; x')` of every dimension of every latent site.

    .. math:: \mathbb{E}[\log q(c_d|x') - \log p(c_d)]

    Under ``channel="mean"`` it is a score, no bound. The marginals of model and guide have to be
    known; where both factorise over a site's dimensions, the bounds add up to the site's.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length; only their number and covariates matter.
        channel: How x' is generated.
        observed: Observed sites that keep their data value (covariates).
        data_args: Where the guide expects x', as in :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.

    Returns:
        Nats per datum by site, each of the site's event shape (a one-hot vector is one dimension).

    Raises:
        ValueError: If the marginals of a site are neither those of a factorised distribution nor of
            a multivariate normal, a site depends on other latents in the guide (then q of it alone
            is not known), or is in no plate of the data.
    """
    return _means(
        mi_by_datum(
            model,
            guide,
            data,
            channel=channel,
            observed=observed,
            data_args=data_args,
            batch_size=batch_size,
            prepare=prepare,
            seed=seed,
        )
    )


def kl_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """KL(q || p) of the marginals of every dimension of every latent site, averaged over data.

    Analytic where torch has the closed form and it holds at the guide's draws of the other sites,
    else one draw per datum.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.

    Returns:
        Nats per datum by site, each of the site's event shape (a one-hot vector is one dimension).

    Raises:
        ValueError: If the marginals of a site are not known, or it is in no plate of the data.
    """
    return _means(
        kl_by_datum(model, guide, data, batch_size=batch_size, prepare=prepare, seed=seed)
    )


def mi_by_datum(
    model: Any,
    guide: Any,
    data: Data,
    *,
    channel: Channel,
    batch_size: int,
    prepare: Prepare | None,
    seed: int,
    sites: Iterable[str] | None = None,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
) -> dict[str, Tensor]:
    """The terms of :func:`mi_per_dimension`, ``(N, *event_shape)`` by site."""
    tensors = as_tensors(data)
    dual = DualPass(channel=channel, codes=None, observed=as_names(observed), data_args=data_args)
    found: dict[str, list[Tensor]] = {}
    dims: dict[str, int] = {}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        for args, count in batches(tensors, batch_size, prepare):
            forward, guide_trace, codes = dual.traces(Call(model, guide, args))
            if not dims:
                names = list(codes if sites is None else sites)
                require_roots(names, dependencies(guide, args, {}))
                run = lambda *args: dual.traces(Call(model, guide, args))[1]  # noqa: E731
                dims = data_dims(run, tensors, prepare, guide_trace, names, count)
            for name, dim in dims.items():
                q, p = guide_trace.nodes[name], forward.trace.nodes[name]
                log_q = log_prob(marginals(q["fn"], name), q["value"], name)
                log_p = log_prob(marginals(p["fn"], name), p["value"], name)
                terms = detach_provenance(log_q - log_p)
                found.setdefault(name, []).append(by_datum(terms, q, dim, count))
    return {name: torch.cat(terms) for name, terms in found.items()}


def kl_by_datum(
    model: Any,
    guide: Any,
    data: Data,
    *,
    batch_size: int,
    prepare: Prepare | None,
    seed: int,
    sites: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """The terms of :func:`kl_per_dimension`, ``(N, *event_shape)`` by site."""
    tensors = as_tensors(data)
    found: dict[str, list[Tensor]] = {}
    dims: dict[str, int] = {}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        for args, count in batches(tensors, batch_size, prepare):
            model_trace, guide_trace = pair(Call(model, guide, args))
            shared = [name for name in latent_sites(guide_trace) if name in model_trace]
            if not dims:
                names = shared if sites is None else list(sites)
                if unknown := sorted(set(names) - set(shared)):
                    raise ValueError(
                        f"codes names the site '{unknown[0]}', which model and guide do not share; "
                        f"their latent sites are {shared}"
                    )
                run = lambda *args: pair(Call(model, guide, args))[1]  # noqa: E731
                dims = data_dims(run, tensors, prepare, guide_trace, names, count)
                require_same_measure(model_trace, guide_trace, names)
                sampled = entangled_sites(Call(model, guide, args), model_trace, guide_trace)
            for name, dim in dims.items():
                site = guide_trace.nodes[name]
                q, p = (marginals(t.nodes[name]["fn"], name) for t in (guide_trace, model_trace))
                try:
                    kl = None if name in sampled else kl_divergence(q, p)
                except NotImplementedError:
                    kl = None
                if kl is None:
                    kl = log_prob(q, site["value"], name) - log_prob(p, site["value"], name)
                found.setdefault(name, []).append(by_datum(kl, site, dim, count))
    return {name: torch.cat(terms) for name, terms in found.items()}


def pair(call: Call) -> tuple[Any, Any]:
    """Traces of the model at a draw of the guide, and of the guide."""
    guide_trace = call.trace_guide()
    values = {**plate_indices(guide_trace), **latent_values(guide_trace)}
    return run_again(call.model, call.args, call.kwargs, values), guide_trace


def shared_sites(call: Call) -> tuple[list[str], dict[str, str]]:
    """The latent sites of both, and why of some the dimensions' marginals are not known."""
    model_trace, guide_trace = pair(call)
    names = [name for name in latent_sites(guide_trace) if name in model_trace]
    unknown = {}
    for name in names:
        try:
            for trace in (guide_trace, model_trace):
                marginals(trace.nodes[name]["fn"], name)
        except ValueError as error:
            unknown[name] = str(error)
    return names, unknown


def by_datum(
    values: Tensor,
    site: Mapping[str, Any],
    dim: int,
    count: int,
    shape: torch.Size | None = None,
) -> Tensor:
    """Sums what is inside a datum.

    Args:
        values: One for each dimension of a site, ``batch_shape + shape``.
        site: The site.
        dim: The dimension of the data's plate.
        count: The number of data.
        shape: By default that of the site's dimensions.

    Returns:
        Double precision, ``(count, *shape)``.

    Raises:
        ValueError: If the site is in no vectorised plate of the data.
    """
    fn = site["fn"]
    shape = dimension_shape(fn) if shape is None else shape
    require_plate(site, {dim}, count)
    values = values.expand(fn.batch_shape + shape).movedim(dim - len(shape), 0)
    return values.reshape(count, -1, *shape).sum(1).double()


def _means(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.mean(0).cpu() for name, each in terms.items()}
