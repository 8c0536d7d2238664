"""The parts of Pyro's ELBOs as tensors: log-likelihood, KL per site, gradient surrogate.

Pyro's own ``differentiable_loss`` waits for the device (``.item()``) and gives the
sum only. For ``Trace_ELBO`` and ``TraceMeanField_ELBO`` the parts are read off the
base's traces; the values are Pyro's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from pyro.infer.util import MultiFrameTensor
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_mivae.infer.guide_checks import require_rsample, require_support
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import entangled_sites
from pyro_mivae.traces.scoring import site_density

logger = logging.getLogger(__name__)

BASES: tuple[type[ELBO], ...] = (
    TraceMeanField_ELBO,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceEnum_ELBO,
)
WEIGHTED_BASES = BASES[:2]
"""Those that separate the KL, and can weigh it."""


def check_base(base: Any, kl_weight: Any) -> None:
    """Raises a ``ValueError`` for a base that is not supported, or not with this weight."""
    if type(base) not in BASES:
        names = ", ".join(cls.__name__ for cls in BASES)
        base_name = getattr(base, "__name__", type(base).__name__)
        raise ValueError(
            f"unsupported base ELBO {base_name}: expected an instance of {names} "
            "(subclasses may compute their loss elsewhere, where the dual term would be lost)"
        )
    weighted = bool(kl_weight != 1)  # a schedule is not the number 1 either
    if weighted and type(base) not in WEIGHTED_BASES:
        raise ValueError(
            f"kl_weight must be 1 with {type(base).__name__}, which does not separate the KL, "
            f"found {kl_weight!r}: use elbo=Trace_ELBO() or TraceMeanField_ELBO()"
        )


@dataclass
class BaseParts:
    """The base ELBO in nats, summed over the data, averaged over particles.

    Attributes:
        elbo: Its value, with ``kl_weight`` applied; shape ``()``.
        surrogate: A tensor whose gradient is the estimator of the ELBO's gradient; None where
            `elbo` has that gradient itself.
        log_likelihood: Log-probability of the observed sites, or None where the
            base does not separate it.
        kl: KL of each latent site (a sampled estimate where `kl_estimators` says so).
        kl_estimators: ``"analytic"`` or ``"sampled"`` for each site in `kl`.
    """

    elbo: Any = 0.0
    surrogate: Any = None
    log_likelihood: Any = None
    kl: dict[str, Any] = field(default_factory=dict)
    kl_estimators: dict[str, str] = field(default_factory=dict)


def base_parts(
    base: ELBO,
    call: Call,
    *,
    kl_weight: Any = 1.0,
    check_support: bool = False,
    analytic: frozenset[str] = frozenset(),
    memory: PairMemory | None = None,
) -> BaseParts:
    """Runs the base ELBO once.

    Args:
        base: One of :data:`BASES`.
        call: The pair and its arguments.
        kl_weight: beta; 1 for TraceGraph and TraceEnum.
        check_support: Whether to compare the supports of guide and prior (reads the
            bounds on the host).
        analytic: Sites whose KL was analytic in an earlier call: their log-probabilities
            are left out (the gradients and values are the same, only faster).
        memory: What is known of the pair: the sites whose analytic KL would be wrong.

    Raises:
        ValueError: If a guide site is not reparameterised under ``TraceMeanField_ELBO``,
            or a guide's support exceeds its prior's.
    """
    parts = BaseParts()
    if type(base) in WEIGHTED_BASES:
        parts.log_likelihood = 0.0
    model, guide = call.model, call.guide
    if analytic:
        model, guide = _Unscored(analytic)(model), _Unscored(analytic)(guide)
    share = 1.0 / base.num_particles
    for model_trace, guide_trace in base._get_traces(model, guide, call.args, dict(call.kwargs)):
        if check_support:
            require_support(model_trace, guide_trace)
        if type(base) is TraceGraph_ELBO:  # the first is the ELBO, not a loss
            elbo, loss = base._loss_and_surrogate_loss_particle(model_trace, guide_trace)
            surrogate = -loss
        elif type(base) is TraceEnum_ELBO:
            elbo, surrogate = _compute_dice_elbo(model_trace, guide_trace), None
        elif type(base) is TraceMeanField_ELBO:
            require_rsample(guide_trace)
            sampled = _entangled(call, model_trace, guide_trace, memory)
            elbo = _mean_field(parts, model_trace, guide_trace, share, kl_weight, sampled)
            surrogate = None
        else:
            elbo, surrogate = _sampled(parts, model_trace, guide_trace, share, kl_weight)
        parts.elbo = plus(parts.elbo, times(share, elbo))
        if surrogate is not None:  # of every particle, or of none
            parts.surrogate = plus(
                0.0 if parts.surrogate is None else parts.surrogate, times(share, surrogate)
            )
    return parts


class _Unscored(Messenger):  # type: ignore[misc]
    """Keeps Pyro from computing log-probabilities that an analytic KL makes superfluous."""

    def __init__(self, sites: frozenset[str]) -> None:
        super().__init__()
        self.sites = sites

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.sites and not msg["is_observed"]:
            # A trace computes what is not there.
            msg["log_prob"] = msg["log_prob_sum"] = msg["score_parts"] = None


def times(weight: Any, term: Any) -> Any:
    """Multiplies a term by its weight; the number 1 takes no operation, which small steps count."""
    if isinstance(weight, Tensor) and isinstance(term, Tensor):
        return weight.to(term.dtype) * term  # two scalars: the weight's type must not win
    return term if isinstance(weight, int | float) and weight == 1 else weight * term


def plus(total: Any, term: Any) -> Any:
    """Adds a term to a total, without an operation for the number 0."""
    return term if isinstance(total, int | float) and total == 0 else total + term


def _log_likelihood(parts: BaseParts, model_trace: Any, share: float) -> Any:
    total: Any = 0.0
    for _, site in _samples(model_trace):
        if site["is_observed"]:
            total = plus(total, site["log_prob_sum"])
    parts.log_likelihood = plus(parts.log_likelihood, times(share, total))
    return total


def _add_kl(parts: BaseParts, name: str, kl: Any, share: float) -> None:
    parts.kl[name] = plus(parts.kl.get(name, 0.0), times(share, kl))


def _entangled(
    call: Call, model_trace: Any, guide_trace: Any, memory: PairMemory | None
) -> frozenset[str]:
    """The sites whose analytic KL would be wrong, found in the first call of a pair."""
    if memory is None:
        return entangled_sites(call, model_trace, guide_trace)
    if memory.sampled is None:
        memory.sampled = entangled_sites(call, model_trace, guide_trace)
        if memory.sampled:
            logger.warning(
                "the KL of %s is sampled: they depend in the model on sites that depend on them in "
                "the guide, where the analytic KL of TraceMeanField_ELBO would be wrong. A guide "
                "with the sites in the model's order has an analytic KL",
                sorted(memory.sampled),
            )
    return memory.sampled


def _mean_field(
    parts: BaseParts,
    model_trace: Any,
    guide_trace: Any,
    share: float,
    kl_weight: Any,
    sampled: frozenset[str],
) -> Any:
    """The ELBO with analytic KL where there is one; every draw has a pathwise gradient."""
    log_likelihood = _log_likelihood(parts, model_trace, share)
    total: Any = 0.0
    for name, site in _samples(model_trace):
        if site["is_observed"]:
            continue
        if name not in guide_trace:
            raise ValueError(
                f"the guide has no site for the model's latent site '{name}', which "
                "TraceMeanField_ELBO needs: add it, or sum it out with elbo=TraceEnum_ELBO()"
            )
        kl = None if name in sampled else _analytic_kl(site, guide_trace.nodes[name])
        parts.kl_estimators[name] = "sampled" if kl is None else "analytic"
        if kl is None:
            kl = _log_prob_sum(guide_trace.nodes[name]) - _log_prob_sum(site)
        _add_kl(parts, name, kl, share)
        total = plus(total, kl)
    for name, site in _samples(guide_trace):
        if name not in model_trace:
            _add_kl(parts, name, site["log_prob_sum"], share)
            total = plus(total, site["log_prob_sum"])
    return log_likelihood - times(kl_weight, total)


def _log_prob_sum(site: Any) -> Any:
    if site["log_prob_sum"] is None:  # its KL was analytic in an earlier call
        return scale_and_mask(site_density(site), site["scale"], site["mask"]).sum()
    return site["log_prob_sum"]


def _sampled(
    parts: BaseParts, model_trace: Any, guide_trace: Any, share: float, kl_weight: Any
) -> tuple[Any, Any]:
    """The ELBO of one draw, and a surrogate with the score-function terms."""
    log_likelihood = _log_likelihood(parts, model_trace, share)
    kl: dict[str, Any] = {}
    pathwise: Any = 0.0
    for name, site in _samples(model_trace):
        if not site["is_observed"]:
            # A site of the model alone counts as Pyro counts it: by its log-density.
            kl[name] = -site["log_prob_sum"]
            pathwise = pathwise - site["log_prob_sum"]
    for name, site in _samples(guide_trace):
        kl[name] = kl.get(name, 0.0) + site["log_prob_sum"]
        pathwise = pathwise + _sum(site["score_parts"].entropy_term)
    for name, value in kl.items():
        _add_kl(parts, name, value, share)
    elbo = log_likelihood - times(kl_weight, sum(kl.values()))
    scores = _score_terms(model_trace, guide_trace, kl_weight)
    return elbo, log_likelihood - times(kl_weight, pathwise) + scores


def _samples(trace: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(name, site) for name, site in trace.nodes.items() if site["type"] == "sample"]


def _sum(term: Any) -> Any:
    return term.sum() if isinstance(term, Tensor) else term


def _analytic_kl(model_site: Any, guide_site: Any) -> Any:
    try:
        kl = torch.distributions.kl_divergence(guide_site["fn"], model_site["fn"])
    except NotImplementedError:
        return None
    kl = scale_and_mask(kl, scale=guide_site["scale"], mask=guide_site["mask"])
    if isinstance(kl, Tensor):
        return kl.sum()
    return kl * guide_site["fn"].batch_shape.numel()


def _score_terms(model_trace: Any, guide_trace: Any, kl_weight: Any) -> Any:
    """Score-function terms of the guide's draws without ``rsample``, Rao-Blackwellised by plates.

    As in Pyro's ``Trace_ELBO``, with the KL weighted, and with the guide's auxiliary
    sites in the cost.
    """
    log_r, total = None, 0.0
    for _, site in _samples(guide_trace):
        score = site["score_parts"].score_function
        if is_identically_zero(score):
            continue
        if log_r is None:
            log_r = _log_ratio(model_trace, guide_trace, kl_weight)
        total = total + (log_r.sum_to(site["cond_indep_stack"]) * score).sum()
    return total


def _log_ratio(model_trace: Any, guide_trace: Any, kl_weight: Any) -> MultiFrameTensor:
    log_r = MultiFrameTensor()
    terms = [
        (site, 1.0 if site["is_observed"] else kl_weight) for _, site in _samples(model_trace)
    ] + [(site, -kl_weight) for _, site in _samples(guide_trace)]
    for site, weight in terms:
        frames = [f for f in site["cond_indep_stack"] if f.vectorized]
        log_r.add((frames, (weight * site["log_prob"]).detach()))
    return log_r
