"""Score-function gradients of the dual pass, with a leave-one-out baseline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import MultiFrameTensor
from torch import Tensor

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.guide_checks import without_rsample
from pyro_mivae.isolation import buffers_apart, remembered_roots
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.scoring import site_density
from pyro_mivae.traces.sites import (
    Codes,
    site_log_prob,
    unmasked,
)

Costs = list[tuple[Any, Tensor]]
"""Terms of a value with the plates that each of them is in."""

Scores = list[tuple[list[Any], Tensor]]
"""Plates along which a draw moves nothing but its own cost, and the draw's log-probability."""


def forward_scores(forward: Forward, gathering: Sequence[dict[str, Any]] = ()) -> Scores:
    """Returns unscaled log-probabilities of the forward draws without a pathwise gradient.

    A mask hides the density of a latent site, not its draw. x' holds data where it is masked, and
    these are no draws.

    Args:
        forward: The forward run.
        gathering: The guide's sites that draw for themselves and may have read x': one outside
            a plate reads x' along all of it, and what it draws moves the cost of each datum.
    """
    outside = [frozenset(site["cond_indep_stack"]) for site in gathering]
    terms = []
    for name in forward.score_sites:
        site = forward.trace.nodes[name]
        plates = [f for f in _plates(site) if all(f in stack for stack in outside)]
        if name in forward.generated:
            log_prob = scale_and_mask(site_density(site), mask=site["mask"])
        else:
            log_prob = site_density({**site, "fn": unmasked(site["fn"])})
        terms.append((plates, log_prob))
    return _with_gradient(terms)


def scored_draws(guide_trace: poutine.Trace, codes: Codes) -> list[str]:
    """Names the sites that the guide draws, or a part of them, without a pathwise gradient."""
    sites = without_rsample(guide_trace)
    return [name for name in sites if not (name in codes and codes[name] is None)]


def guide_scores(guide_trace: poutine.Trace, codes: Codes) -> Scores:
    """Collects those of the guide's own draws of sites (or dimensions) that are not code."""
    terms = []
    for name in scored_draws(guide_trace, codes):
        site = guide_trace.nodes[name]
        fn = unmasked(site["fn"])
        log_q = site_density({**site, "fn": fn})
        if name in codes:
            unweighted = {**site, "fn": fn, "scale": 1.0, "mask": None}
            log_q = log_q - site_log_prob(unweighted, codes[name])
        terms.append((_plates(site), log_q))
    return _with_gradient(terms)


def _with_gradient(terms: Scores) -> Scores:
    return [(plates, log_q) for plates, log_q in terms if log_q.requires_grad]


def _plates(site: dict[str, Any]) -> list[Any]:
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def with_scores(
    value: Tensor,
    costs: Costs,
    scores: Scores,
    *,
    coupled: bool,
    crossed: Collection[str] = (),
    baseline: bool,
) -> Tensor:
    """Returns a value whose gradient has the score-function terms, too.

    Args:
        value: Sum of the costs, with its pathwise gradient; shape ``()``.
        costs: The terms of the value, with the plates that each is in.
        scores: Log-probabilities of the draws without a pathwise gradient.
        coupled: Whether a draw moves the costs of all data, and not of its own alone.
        crossed: Plates along which it moves those of other cells.
        baseline: Whether to take off the mean cost of the other data, a control variate.
    """
    surrogate = value
    cost = MultiFrameTensor()
    cost.add(*[(stack, term.detach()) for stack, term in costs])
    for plates, log_prob in scores:
        plates = [] if coupled else [frame for frame in plates if frame.name not in crossed]
        downstream = cost.sum_to(plates)
        if baseline:
            downstream = downstream - leave_one_out(cost, downstream, plates)
        surrogate = surrogate + (log_prob * downstream).sum()
    return surrogate


def leave_one_out(
    cost: MultiFrameTensor, downstream: Tensor, plates: Sequence[Any]
) -> Tensor | float:
    """Averages the costs of the other data, which a datum's own draw cannot have influenced.

    That holds along the plates of the draw that all cost terms are in; elsewhere,
    and for a batch of one, there is no baseline.
    """
    common = frozenset(plates).intersection(*cost.keys())
    dims = [f.dim for f in common if -f.dim <= downstream.dim() and downstream.shape[f.dim] > 1]
    if not dims:
        return 0.0
    count = torch.Size([downstream.shape[d] for d in dims]).numel()
    return (downstream.sum(dims, keepdim=True) - downstream) / (count - 1)


class BatchNormWatch:
    """The block of a dual pass: its modules write to copies of their buffers.

    Running statistics, as those of batch normalisation, thus stay those of the data, and x' is
    normalised by its own batch.

    Args:
        call: The pair that runs in the block.

    Attributes:
        coupled: Whether data depend on each other, through normalisation by the batch's statistics.
    """

    def __init__(self, call: Call) -> None:
        self.coupled = False
        roots = [*remembered_roots(call.model), *remembered_roots(call.guide)]
        self._apart = buffers_apart(roots, self._look)

    def __enter__(self) -> BatchNormWatch:
        self._apart.__enter__()
        return self

    def _look(self, module: torch.nn.Module) -> None:
        self.coupled |= couples(module)

    def __exit__(self, *exception: Any) -> None:
        self._apart.__exit__(*exception)


def couples(module: torch.nn.Module) -> bool:
    """Tells whether a module normalises by statistics of the batch, so that its data depend."""
    if not isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
        return False
    return module.training or module.running_mean is None
