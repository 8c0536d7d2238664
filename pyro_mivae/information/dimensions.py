"""Bounds and KL of each dimension of the latent sites."""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.ops.provenance import detach_provenance
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mivae.batches import Prepare
from pyro_mivae.infer.channel import Channel
from pyro_mivae.infer.dual import DualPass
from pyro_mivae.infer.sites import latent_sites, marginals
from pyro_mivae.information.estimate import batches
from pyro_mivae.training import Data, as_tensors, evaluation


def mi_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    channel: Channel,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    r"""The bound on :math:`I(c_d; x')` of every dimension of every factorised latent site.

    .. math:: \mathbb{E}[\log q(c_d|x') - \log p(c_d)]

    Under ``channel="mean"`` it is a score, no bound. Model and guide have to factorise
    over a site's event dimensions; the bounds then add up to the site's.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length; only their number and covariates matter.
        channel: How x' is generated.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.

    Returns:
        Nats by site, each of the site's event shape.

    Raises:
        ValueError: If a site does not factorise.
    """
    tensors = as_tensors(data)
    dual = DualPass(channel=channel, codes=None, observed=(), data_args=None)
    totals: dict[str, Tensor] = {}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        for args, _ in batches(tensors, batch_size, prepare):
            forward, guide_trace, codes = dual.traces(model, guide, args, {})
            for name in codes:
                q, p = guide_trace.nodes[name], forward.trace.nodes[name]
                log_q = marginals(q["fn"], name).log_prob(q["value"])
                log_p = marginals(p["fn"], name).log_prob(p["value"])
                _accumulate(totals, name, detach_provenance(log_q - log_p), q["fn"])
    return _per_datum_means(totals, tensors)


def kl_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """KL(q || p) of every dimension of every factorised latent site, averaged over data.

    Analytic where torch has the closed form, else one draw per datum.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.

    Returns:
        Nats by site, each of the site's event shape.

    Raises:
        ValueError: If a site does not factorise.
    """
    tensors = as_tensors(data)
    totals: dict[str, Tensor] = {}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        for args, _ in batches(tensors, batch_size, prepare):
            model_trace, guide_trace = _importance(model, guide, args)
            for name in latent_sites(guide_trace):
                if name not in model_trace:
                    continue
                q, p = guide_trace.nodes[name]["fn"], model_trace.nodes[name]["fn"]
                value = guide_trace.nodes[name]["value"]
                q_d, p_d = marginals(q, name), marginals(p, name)
                try:
                    kl = kl_divergence(q_d, p_d)
                except NotImplementedError:
                    kl = q_d.log_prob(value) - p_d.log_prob(value)
                _accumulate(totals, name, kl, q)
    return _per_datum_means(totals, tensors)


def _per_datum_means(totals: dict[str, Tensor], tensors: list[Tensor]) -> dict[str, Tensor]:
    return {name: total / len(tensors[0]) for name, total in totals.items()}


def _importance(model: Any, guide: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
    guide_trace = poutine.trace(guide).get_trace(*args)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args)
    return prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace)


def _accumulate(totals: dict[str, Tensor], name: str, values: Tensor, fn: Any) -> None:
    event_dim = len(fn.event_shape)
    summed = values.reshape(-1, *values.shape[values.dim() - event_dim :]).sum(0)
    totals[name] = totals[name] + summed if name in totals else summed
