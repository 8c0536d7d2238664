"""The dual pass: draw the code, generate x', score the guide on it.

    I(c; x') >= E_{z ~ p(z), x' ~ p(x|z)} [ log q(c|x') - log p(c) ]

is the bound of Barber and Agakov (2003) on the information, in nats, between the
code c and what the model generates, and the reconstruction term of a dual VAE in
which z is observed and x is latent.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.infer.util import MultiFrameTensor
from pyro.ops.provenance import detach_provenance
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, Forward, generate
from pyro_mivae.infer.dual.code_sites import CodeSites
from pyro_mivae.infer.dual.first_look import look_at_codes, require_finite_means, require_same_masks
from pyro_mivae.infer.dual.fixed_scale import code_log_prob
from pyro_mivae.infer.dual.guide_run import GuideRun, gathering
from pyro_mivae.infer.dual.multisample import ManySamples, many_samples
from pyro_mivae.infer.dual.score_function import (
    BatchNormWatch,
    Scores,
    forward_scores,
    guide_scores,
    leave_one_out,
)
from pyro_mivae.infer.dual.subsampling import (
    SubsampledByGuideError,
    subsampled_by_guide,
)
from pyro_mivae.infer.pair_memory import PairMemories, PairMemory
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, site_log_prob

Costs = list[tuple[Any, Tensor]]
"""Terms of the bound with the plates that each of them is in."""

_COUPLED = (
    "batch normalisation in training mode makes the data depend on each other, so the "
    "score-function terms weigh each draw by the cost of the whole batch, without a baseline: "
    "unbiased, but of high variance. Use another normalisation or channel='straight-through'"
)


@dataclass
class DualTerms:
    """What one dual pass gives, in nats, summed over the data as Pyro's losses are.

    Attributes:
        value: The bound (or, under ``"mean"``, the score), shape ``()``.
        per_site: The share of each code site, in the guide's order (chain rule); with several
            samples the value of a single site, else none.
        costs: The terms of the value with their plates.
        surrogate: A tensor whose gradient is the estimator's and whose value means nothing; None
            where `value` has that gradient itself.
    """

    value: Tensor | float = 0.0
    per_site: dict[str, Tensor] = field(default_factory=dict)
    costs: Costs = field(default_factory=list)
    surrogate: Tensor | None = None

    @property
    def differentiable(self) -> Tensor | float:
        """What the gradient is taken of."""
        return self.value if self.surrogate is None else self.surrogate


class DualPass:
    """The bound of a call, and a surrogate that carries its gradient.

    Args:
        channel: How x' is generated.
        codes: Code sites and their event dimensions (None: all of them); None for
            all latent sites that model and guide share.
        observed: Observed sites that keep their data value.
        data_args: Where x' goes, see :class:`~pyro_mivae.infer.dual.binding.Binding`.
        num_samples: Draws K of the bound L_K, see
            :func:`~pyro_mivae.infer.dual.multisample.many_samples`.
        code_scale: See :func:`~pyro_mivae.infer.dual.fixed_scale.code_log_prob`.
        baseline: Whether score-function terms use the leave-one-out mean over
            independent data as a control variate.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        codes: Codes | None,
        observed: tuple[str, ...],
        data_args: DataArgs | None,
        num_samples: int = 1,
        code_scale: float | None = None,
        baseline: bool = True,
    ) -> None:
        self.channel = channel
        self.num_samples = num_samples
        self.code_scale = code_scale
        self.code_sites = CodeSites(codes, observed)
        self.observed = observed
        self.baseline = baseline
        self.run_guide = GuideRun(data_args)
        self.memories = PairMemories()

    def __call__(self, call: Call) -> DualTerms:
        """Runs model and guide once on the arguments of both."""
        memory = self.memories(call)
        with BatchNormWatch(call) as watch:
            forward, guide_trace, codes = self.traces(call)
            if codes and self.num_samples > 1:
                many = many_samples(
                    self.run_guide,
                    self.channel,
                    self.num_samples,
                    forward,
                    guide_trace,
                    codes,
                    call,
                    memory,
                )
        if not codes:
            return DualTerms()
        if self.num_samples > 1:
            terms, scores = self._score_many(forward, many)
        else:
            terms, scores = self._score(forward, guide_trace, codes, memory)
        if scores and watch.coupled and not memory.has_scores:
            warnings.warn(_COUPLED, stacklevel=2)
        if scores:  # only where gradients are enabled
            memory.has_scores = True
            terms.surrogate = self._surrogate(terms, scores, watch.coupled)
        return terms

    def traces(self, call: Call) -> tuple[Forward, poutine.Trace, Codes]:
        """Runs the model forward and the guide on x'; with both traces come the latent codes."""
        try:
            return self._traces(call)
        except SubsampledByGuideError as error:  # at the first call: again, with its indices
            self.memories(call).guide_plates.add(error.plate)
            return self.traces(call)

    def _traces(self, call: Call) -> tuple[Forward, poutine.Trace, Codes]:
        memory = self.memories(call)
        forward, codes = self.generate(call)
        if not codes:  # all of them are observed in this call
            return forward, poutine.Trace(), {}
        guide_trace = self.run_guide(forward, codes, call, memory)
        codes = self.code_sites.shared(codes, guide_trace)
        require_same_masks(forward, guide_trace, codes)
        look_at_codes(forward, guide_trace, codes, memory, self.code_scale)
        return forward, guide_trace, codes

    def generate(self, call: Call) -> tuple[Forward, Codes]:
        """Runs the model forward, and finds the codes that are latent in this call."""
        if isinstance(poutine.unwrap(call.guide), Messenger):
            raise ValueError(
                "a GuideMessenger draws its values while the model runs and cannot be scored on "
                "generated data: write the guide as a function or a module"
            )
        memory = self.memories(call)
        forward = generate(
            call.model,
            call.args,
            call.kwargs,
            channel=self.channel,
            observed=self.observed,
            indices=subsampled_by_guide(call, memory),
        )
        require_finite_means(forward, self.channel, memory)
        codes = self.code_sites.latent(forward, call, memory)
        if codes and not forward.generated:
            raise ValueError(
                "the model generates no data in this call: it has no observed site"
                + (f" besides observed={list(self.observed)}" if self.observed else "")
                + ". Expected a pyro.sample(..., obs=data) with the data of the call (condition a "
                "model without one: pyro.condition(model, data={'x': x})); pyro.factor and "
                "pyro.deterministic generate nothing"
            )
        return forward, codes

    def _score(
        self, forward: Forward, guide_trace: poutine.Trace, codes: Codes, memory: PairMemory
    ) -> tuple[DualTerms, Scores]:
        per_site: dict[str, Tensor] = {}
        costs: Costs = []
        for name, dims in codes.items():
            log_q = code_log_prob(guide_trace.nodes[name], dims, self.code_scale)
            log_p = site_log_prob(forward.trace.nodes[name], dims)
            if self.channel == "sleep":  # a prior may hold parameters of its own
                log_p = log_p.detach()
            for log_prob, trace in ((log_q, guide_trace), (-log_p, forward.trace)):
                stack = trace.nodes[name]["cond_indep_stack"]
                costs.append((stack, log_prob))
            per_site[name] = detach_provenance(log_q.sum() - log_p.sum())
        first, *others = per_site.values()
        scores: Scores = []
        if torch.is_grad_enabled():
            if self.channel != "sleep":  # nothing of the forward run has a gradient
                scores += forward_scores(forward, gathering(guide_trace, codes, memory.blind))
            scores += guide_scores(guide_trace, codes)
        return DualTerms(sum(others, first), per_site, costs), scores

    def _score_many(self, forward: Forward, many: ManySamples) -> tuple[DualTerms, Scores]:
        value = detach_provenance(many.bound.sum())
        scores: Scores = []
        if torch.is_grad_enabled():
            if self.channel != "sleep":
                scores += forward_scores(forward)
            for guide_trace in many.guide_traces:
                scores += guide_scores(guide_trace, {})
        # Shares of single sites are not defined: the weights are sums over draws of all of them.
        per_site = {many.latent[0]: value} if len(many.latent) == 1 else {}
        return DualTerms(value, per_site, [(many.cells.frames, many.bound)]), scores

    def _surrogate(self, terms: DualTerms, scores: Scores, coupled: bool) -> Tensor:
        """Returns the value with the gradient of the score-function terms, too."""
        surrogate = torch.as_tensor(terms.value)
        cost = MultiFrameTensor()
        cost.add(*[(stack, detach_provenance(term.detach())) for stack, term in terms.costs])
        for plates, log_prob in scores:
            plates = [] if coupled else plates
            downstream = cost.sum_to(plates)
            if self.baseline and self.channel == "sample":
                downstream = downstream - leave_one_out(cost, downstream, plates)
            surrogate = surrogate + detach_provenance((log_prob * downstream).sum())
        return surrogate
