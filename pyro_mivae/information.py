"""Measuring: bounds per code dimension and importance-weighted log-evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mivae.batches import Prepare, arguments
from pyro_mivae.infer.channel import Channel
from pyro_mivae.infer.dual import DualPass
from pyro_mivae.infer.sites import elementwise, latent_sites, unwrap
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
        for args, _ in _batches(tensors, batch_size, prepare):
            forward, guide_trace, codes = dual.traces(model, guide, args, {})
            for name in codes:
                q, p = guide_trace.nodes[name], forward.trace.nodes[name]
                log_q = elementwise(q["fn"], q["value"], name)
                log_p = elementwise(p["fn"], p["value"], name)
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
        for args, _ in _batches(tensors, batch_size, prepare):
            model_trace, guide_trace = _importance(model, guide, args)
            for name in latent_sites(guide_trace):
                if name not in model_trace:
                    continue
                q, p = guide_trace.nodes[name]["fn"], model_trace.nodes[name]["fn"]
                value = guide_trace.nodes[name]["value"]
                # Also the check that both factorise.
                sampled = elementwise(q, value, name) - elementwise(p, value, name)
                try:
                    kl = kl_divergence(unwrap(q), unwrap(p)).expand_as(sampled)
                except NotImplementedError:
                    kl = sampled
                _accumulate(totals, name, kl, q)
    return _per_datum_means(totals, tensors)


@dataclass(frozen=True)
class LogEvidence:
    """An importance-weighted estimate of log p(x).

    Attributes:
        per_datum: Estimates in nats, shape ``(N,)``; a lower bound in expectation.
        num_samples: Draws of the guide per datum.
    """

    per_datum: Tensor
    num_samples: int

    @property
    def mean(self) -> float:
        """The mean over data."""
        return float(self.per_datum.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of :attr:`mean` over data; NaN for a single datum."""
        return float(self.per_datum.std() / math.sqrt(len(self.per_datum)))


def log_evidence(
    model: Any,
    guide: Any,
    data: Data,
    *,
    num_samples: int = 100,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> LogEvidence:
    r"""Importance-weighted log-evidence (Burda et al. 2016, eq. 8).

    .. math:: \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k|x)}, \qquad z_k \sim q(z|x)

    Summed in log space one draw at a time: the memory does not grow with K.

    Args:
        model: A Pyro model whose data are in one vectorised plate.
        guide: Its guide.
        data: Tensors of equal length N.
        num_samples: The number K of draws.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.

    Raises:
        ValueError: If the data's plate is not found, or a latent site lies outside it.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, found {num_samples}")
    tensors = as_tensors(data)
    estimates = []
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        for args, count in _batches(tensors, batch_size, prepare):
            total = torch.full((count,), -math.inf, device=tensors[0].device)
            for _ in range(num_samples):
                model_trace, guide_trace = _importance(model, guide, args)
                weight = _per_datum(model_trace, count) - _per_datum(guide_trace, count)
                total = torch.logaddexp(total.to(weight.dtype), weight)
            estimates.append(total - math.log(num_samples))
    return LogEvidence(torch.cat(estimates).cpu(), num_samples)


def _batches(
    tensors: list[Tensor], batch_size: int, prepare: Prepare | None
) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The arguments of model and guide by batch, and the number of data in it."""
    for batch in zip(*(torch.split(t, batch_size) for t in tensors), strict=True):
        yield arguments(batch, prepare), len(batch[0])


def _per_datum_means(totals: dict[str, Tensor], tensors: list[Tensor]) -> dict[str, Tensor]:
    return {name: total / len(tensors[0]) for name, total in totals.items()}


def _importance(model: Any, guide: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
    guide_trace = poutine.trace(guide).get_trace(*args)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args)
    return prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace)


def _per_datum(trace: Any, count: int) -> Tensor:
    """Log-probability of all sites of a trace by datum, shape ``(count,)``."""
    trace.compute_log_prob()
    total: Any = 0.0
    for name, site in trace.nodes.items():
        if site["type"] != "sample":
            continue
        frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.size == count]
        if not frames:
            raise ValueError(
                f"site '{name}' is in no vectorised plate of the {count} data: expected a model "
                "whose every site is inside the data's pyro.plate"
            )
        log_prob = site["log_prob"]
        dim = min(frame.dim for frame in frames)
        total = total + log_prob.movedim(dim, 0).reshape(count, -1).sum(-1)
    summed: Tensor = total
    return summed


def _accumulate(totals: dict[str, Tensor], name: str, values: Tensor, fn: Any) -> None:
    event_dim = len(fn.event_shape)
    summed = values.reshape(-1, *values.shape[values.dim() - event_dim :]).sum(0)
    totals[name] = totals[name] + summed if name in totals else summed
