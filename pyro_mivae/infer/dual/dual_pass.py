"""The dual pass: draw the code, generate x', score the guide on it.

    I(c; x') >= E_{z ~ p(z), x' ~ p(x|z)} [ log q(c|x') - log p(c) ]

is the bound of Barber and Agakov (2003) on the information, in nats, between the
code c and what the model generates, and the reconstruction term of a dual VAE in
which z is observed and x is latent.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_mivae.infer.base_parts import times
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, Forward, generate
from pyro_mivae.infer.dual.code_sites import CodeSites
from pyro_mivae.infer.dual.crossing_look import CrossingLook
from pyro_mivae.infer.dual.first_look import look_at_codes, require_finite_means, require_same_masks
from pyro_mivae.infer.dual.fixed_scale import code_log_prob
from pyro_mivae.infer.dual.guide_run import GuideRun, gathering
from pyro_mivae.infer.dual.multisample import ManySamples, many_samples
from pyro_mivae.infer.dual.score_function import (
    BatchNormWatch,
    Costs,
    Scores,
    forward_scores,
    guide_scores,
    with_scores,
)
from pyro_mivae.infer.dual.scoring import Scoring, counts
from pyro_mivae.infer.dual.subsampling import (
    SubsampledByGuideError,
    subsampled_by_guide,
)
from pyro_mivae.infer.pair_memory import PairMemories
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, site_log_prob

_COUPLED = (
    "batch normalisation in training mode makes the data depend on each other, so the "
    "score-function terms weigh each draw by the cost of the whole batch, without a baseline: "
    "unbiased, but of high variance. Use another normalisation or channel='straight-through'"
)

_PLAIN = Scoring()
"""Codes scored by the guide's density, one weight for all of them."""


@dataclass
class DualTerms:
    """What one dual pass gives, in nats, summed over the data as Pyro's losses are.

    Attributes:
        value: The bound (or, under ``"mean"``, the score), shape ``()``.
        per_site: The share of each code site, in the guide's order (chain rule); with several
            samples the value of a single site, else none.
        weighted: The sum of the shares by their weights, which is `value` without weights by site.
        costs: The terms of `weighted` with their plates.
        surrogate: A tensor whose gradient is that of the estimator of `weighted`, and whose value
            means nothing; None where `weighted` has that gradient itself.
        log_priors: The density of each code under the model, scaled.
    """

    value: Tensor | float = 0.0
    per_site: dict[str, Tensor] = field(default_factory=dict)
    weighted: Tensor | float = 0.0
    costs: Costs = field(default_factory=list)
    surrogate: Tensor | None = None
    log_priors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def differentiable(self) -> Tensor | float:
        """What the gradient is taken of."""
        return self.weighted if self.surrogate is None else self.surrogate


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
        baseline: bool = True,
    ) -> None:
        self.channel = channel
        self.num_samples = num_samples
        self.code_sites = CodeSites(codes, observed)
        self.observed = observed
        self.baseline = baseline
        self.run_guide = GuideRun(data_args)
        self.crossed = CrossingLook(channel, observed, self.run_guide)
        self.memories = PairMemories()

    def __call__(self, call: Call, scoring: Scoring = _PLAIN) -> DualTerms:
        """Runs model and guide once on the arguments of both."""
        memory = self.memories(call)
        with BatchNormWatch(call) as watch:
            forward, guide_trace, codes = self.traces(call, scoring)
            if watch.coupled and memory.dependent is None:
                memory.dependent = frozenset()  # by the batch's statistics, as in the ELBO
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
        if self.num_samples == 1:
            return self.score(forward, guide_trace, codes, call, scoring, coupled=watch.coupled)
        terms, scores = self._score_many(forward, many)
        return self._with_scores(terms, scores, forward, guide_trace, codes, call, watch.coupled)

    def traces(self, call: Call, scoring: Scoring = _PLAIN) -> tuple[Forward, poutine.Trace, Codes]:
        """Runs the model forward and the guide on x'; with both traces come the latent codes."""
        try:
            forward, codes = self.generate(call)
            return (forward, *self.read(forward, codes, call, scoring))
        except SubsampledByGuideError as error:  # at the first call: again, with its indices
            self.memories(call).guide_plates.add(error.plate)
            return self.traces(call, scoring)

    def read(
        self, forward: Forward, codes: Codes, call: Call, scoring: Scoring = _PLAIN
    ) -> tuple[poutine.Trace, Codes]:
        """Runs the guide on x'; with its trace come the codes that it has, in its order.

        Args:
            forward: A forward run.
            codes: Its codes; without any, as where a call observes all, the guide does not run.
            call: The pair and its arguments.
            scoring: Weights and scales of the codes.
        """
        if not codes:
            return poutine.Trace(), {}
        memory = self.memories(call)
        guide_trace = self.run_guide(forward, codes, call, memory)
        codes = self.code_sites.shared(codes, guide_trace, memory)
        require_same_masks(forward, guide_trace, codes)
        scoring.check(codes, forward, guide_trace, call, self.code_sites, memory)
        look_at_codes(forward, guide_trace, codes, memory, scoring.scales(codes, memory))
        return guide_trace, codes

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

    def score(
        self,
        forward: Forward,
        guide_trace: poutine.Trace,
        codes: Codes,
        call: Call,
        scoring: Scoring = _PLAIN,
        *,
        coupled: bool = False,
    ) -> DualTerms:
        """Scores the codes of a forward run under the guide, with the gradient of both or of one.

        Args:
            forward: The forward run; of one that is frozen the guide alone has a gradient.
            guide_trace: What :meth:`read` made of it.
            codes: The codes, in the guide's order.
            call: The pair and its arguments.
            scoring: Weights and scales of the codes.
            coupled: Whether data depend on each other, through normalisation by the batch.
        """
        memory = self.memories(call)
        if not codes:
            return DualTerms()
        terms = DualTerms()
        for name, dims in codes.items():
            scale = scoring.scale(name, memory)
            log_q = code_log_prob(guide_trace.nodes[name], dims, scale)
            log_p = site_log_prob(forward.trace.nodes[name], dims)
            if forward.frozen:  # a prior may hold parameters of its own
                log_p = log_p.detach()
            terms.log_priors[name] = log_p
            weight = scoring.weight(name, memory)
            for log_prob, trace in ((log_q, guide_trace), (-log_p, forward.trace)):
                stack = trace.nodes[name]["cond_indep_stack"]
                if counts(weight):
                    terms.costs.append((stack, times(weight, log_prob)))
            terms.per_site[name] = log_q.sum() - log_p.sum()
        first, *others = terms.per_site.values()
        terms.value = terms.weighted = sum(others, first)
        if scoring.weights is not None:
            weights = {name: scoring.weight(name, memory) for name in codes}
            terms.weighted = sum(
                times(weights[name], share)
                for name, share in terms.per_site.items()
                if counts(weights[name])
            )
        scores: Scores = []
        if torch.is_grad_enabled() and terms.costs:
            if not forward.frozen:
                scores += forward_scores(forward, gathering(guide_trace, codes, memory.blind))
            scores += guide_scores(guide_trace, codes)
        return self._with_scores(terms, scores, forward, guide_trace, codes, call, coupled)

    def _score_many(self, forward: Forward, many: ManySamples) -> tuple[DualTerms, Scores]:
        value = many.bound.sum()
        scores: Scores = []
        if torch.is_grad_enabled():
            if not forward.frozen:
                scores += forward_scores(forward)
            for guide_trace in many.guide_traces:
                scores += guide_scores(guide_trace, {})
        # Shares of single sites are not defined: the weights are sums over draws of all of them.
        per_site = {many.latent[0]: value} if len(many.latent) == 1 else {}
        return DualTerms(value, per_site, value, [(many.cells.frames, many.bound)]), scores

    def _with_scores(
        self,
        terms: DualTerms,
        scores: Scores,
        forward: Forward,
        guide_trace: poutine.Trace,
        codes: Codes,
        call: Call,
        coupled: bool,
    ) -> DualTerms:
        """The terms with the gradient of the score-function terms, if there are any."""
        if not scores:  # as there are none where gradients are disabled
            return terms
        memory = self.memories(call)
        if coupled and not memory.has_scores:
            warnings.warn(_COUPLED, stacklevel=3)
        memory.has_scores = True
        terms.surrogate = with_scores(
            torch.as_tensor(terms.weighted),
            terms.costs,
            scores,
            coupled=coupled,
            crossed=self.crossed(forward, guide_trace, codes, call, memory, coupled=coupled),
            baseline=self.baseline and self.channel == "sample",
        )
        return terms
