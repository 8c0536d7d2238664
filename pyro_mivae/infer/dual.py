"""The dual pass: draw the code, generate x', score the guide on it.

    I(c; x') >= E_{z ~ p(z), x' ~ p(x|z)} [ log q(c|x') - log p(c) ]

is the bound of Barber and Agakov (2003) on the information, in nats, between the
code c and what the model generates, and the reconstruction term of a dual VAE in
which z is observed and x is latent.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.infer.util import MultiFrameTensor
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.binding import Binding, DataArgs, argument_of, parameters_of
from pyro_mivae.infer.channel import Channel, Forward, generate
from pyro_mivae.infer.score import BatchNormWatch, leave_one_out, score_functions
from pyro_mivae.infer.sites import Codes, Dims, chosen_dims, latent_sites, site_log_prob

logger = logging.getLogger(__name__)


@dataclass
class DualTerms:
    """What one dual pass gives, in nats, summed over the data as Pyro's losses are.

    Attributes:
        value: The bound (or, under ``"mean"``, the score), shape ``()``.
        per_site: The share of each code site, in the guide's order (chain rule).
        surrogate: Its gradient is the estimator's; its value means nothing.
    """

    value: Tensor | float = 0.0
    per_site: dict[str, Tensor] = field(default_factory=dict)
    surrogate: Tensor | float = 0.0


class _ReplayCodes(Messenger):  # type: ignore[misc]
    """Gives the guide the code and the plates' indices of the forward run, no more.

    Every other site is drawn by the guide itself: by Jensen's inequality the score
    is then a bound on I(c; x') whatever the guide's dependency structure.
    """

    def __init__(self, trace: poutine.Trace, codes: Codes) -> None:
        super().__init__()
        self.trace = trace
        self.codes = codes

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if name not in self.trace or msg["done"]:
            return
        source = self.trace.nodes[name]
        if name in self.codes:
            value, dims = source["value"], self.codes[name]
            if dims is not None:
                own = msg["fn"](*msg["args"], **msg["kwargs"])
                value = torch.where(chosen_dims(dims, value), value, own)
        elif site_is_subsample(source) and site_is_subsample(msg):
            value = source["value"]
        else:
            return
        msg["value"], msg["done"] = value, True


class DualPass:
    """Computes the bound, and a surrogate that carries its gradient.

    Args:
        channel: How x' is generated.
        codes: Code sites and their event dimensions (None: all of them); None for
            all latent sites that model and guide share.
        observed: Observed sites that keep their data value.
        data_args: Where x' goes, see :class:`~pyro_mivae.infer.binding.Binding`.
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
        baseline: bool = True,
    ) -> None:
        self.channel = channel
        self.codes = codes
        self.observed = observed
        self.baseline = baseline
        self._bind = Binding(data_args)
        self._seen_latent: set[str] = set()
        self._seen_reading_data = False

    def __call__(
        self, model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DualTerms:
        """Runs model and guide once on the arguments of both."""
        use_baseline = self.baseline and self.channel == "sample"
        with BatchNormWatch(use_baseline) as watch:
            forward, guide_trace, codes = self.traces(model, guide, args, kwargs)
        if not codes:
            return DualTerms()
        return self._score(forward, guide_trace, codes, use_baseline and not watch.coupled)

    def traces(
        self, model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Forward, poutine.Trace, Codes]:
        """The forward run, the guide's run on x' and the codes that are latent in this call."""
        if isinstance(poutine.unwrap(guide), Messenger):
            raise ValueError(
                "a GuideMessenger draws its values while the model runs and cannot be scored on "
                "generated data: write the guide as a function or a module"
            )
        forward = generate(model, args, kwargs, channel=self.channel, observed=self.observed)
        codes = self._resolve(forward, model, args, kwargs)
        if not codes and self.codes is not None:
            return forward, poutine.Trace(), {}
        guide_trace = self._run_guide(forward, codes, guide, args, kwargs)
        return forward, guide_trace, self._shared(codes, guide_trace)

    def _resolve(
        self, forward: Forward, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Codes:
        """The code sites that are latent in this call."""
        latent = latent_sites(forward.trace)
        latent = [name for name in latent if name not in forward.generated]
        if self.codes is None:
            return dict.fromkeys(latent)
        present: dict[str, Dims | None] = {}
        for name, dims in self.codes.items():
            if name not in forward.trace:
                raise ValueError(
                    f"codes names the site '{name}', which the model does not have; its latent "
                    f"sites are {latent}"
                )
            if name in latent:
                self._seen_latent.add(name)
                present[name] = dims
            elif name not in self._seen_latent:
                self._check_can_be_latent(name, forward, model, args, kwargs, latent)
        return present

    def _check_can_be_latent(
        self,
        name: str,
        forward: Forward,
        model: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        latent: list[str],
    ) -> None:
        """Tells a label that is observed in some calls from data, which always is."""
        site = forward.trace.nodes[name]
        data = forward.originals.get(name, site["value"])
        argument = None
        if site["type"] == "sample" and isinstance(data, Tensor):
            argument = argument_of(data, model, args, kwargs)
        parameter = parameters_of(model).get(argument or "")
        required = parameter is not None and parameter.default is parameter.empty
        is_auxiliary = name not in forward.originals and name not in self.observed
        if is_auxiliary or required:
            why = f"it is the argument '{argument}'" if required else "the model never draws it"
            raise ValueError(
                f"codes names the site '{name}', which is not latent: {why}. A code is drawn from "
                f"its prior; the latent sites of this call are {latent}. (For a label that some "
                "calls observe, give the argument the default None, or start with a call in which "
                "it is latent.)"
            )
        logger.info("code site '%s' is observed in this call and left out of the bound", name)

    def _run_guide(
        self,
        forward: Forward,
        codes: Codes,
        guide: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> poutine.Trace:
        traced = poutine.trace(_ReplayCodes(forward.trace, codes)(guide))

        def run(generated: dict[str, Tensor]) -> poutine.Trace:
            new_args, new_kwargs = self._bind(forward, generated, guide, args, kwargs)
            return traced.get_trace(*new_args, **new_kwargs)

        if self._seen_reading_data or not forward.generated:
            return run(forward.generated)
        # Once, and without a second run: does any code's q depend on x'? Compiled
        # or extension code that rejects tensor subclasses is given the benefit of it.
        marked = {n: track_provenance(v, frozenset({n})) for n, v in forward.generated.items()}
        try:
            trace = run(marked)
            reads = any(
                get_provenance(trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]))
                for name in codes
                if name in trace
            )
        except Exception as error:
            logger.debug("could not follow x' through the guide: %s", error)
            self._seen_reading_data = True
            return run(forward.generated)
        if not reads and any(name in trace for name in codes):
            warnings.warn(
                "the guide ignores its data: q of the code sites "
                f"{[n for n in codes if n in trace]} does not depend on the generated x', so the "
                "bound on the mutual information is at most 0",
                stacklevel=2,
            )
        self._seen_reading_data = True
        return trace

    def _shared(self, codes: Codes, guide_trace: poutine.Trace) -> Codes:
        drawn = latent_sites(guide_trace)
        if self.codes is None:
            codes = {name: dims for name, dims in codes.items() if name in drawn}
            if not codes:
                raise ValueError(
                    f"model and guide share no latent site (the guide's are {drawn}): there is no "
                    "code to score"
                )
        for name in codes:
            if name not in drawn:
                raise ValueError(
                    f"the guide has no site for the code '{name}': q({name}|x') is what the bound "
                    f"scores. The guide's latent sites are {drawn}"
                )
        return {name: codes[name] for name in drawn if name in codes}

    def _score(
        self, forward: Forward, guide_trace: poutine.Trace, codes: Codes, baseline: bool
    ) -> DualTerms:
        per_site: dict[str, Tensor] = {}
        cost = MultiFrameTensor()
        for name, dims in codes.items():
            log_ratio = []
            for sign, trace in ((1, guide_trace), (-1, forward.trace)):
                log_prob = sign * site_log_prob(trace.nodes[name], dims)
                stack = trace.nodes[name]["cond_indep_stack"]
                cost.add((stack, detach_provenance(log_prob.detach())))
                log_ratio.append(log_prob.sum())
            per_site[name] = detach_provenance(log_ratio[0] + log_ratio[1])
        first, *others = per_site.values()
        value = sum(others, first)
        surrogate = value
        if torch.is_grad_enabled():
            for site, log_q in score_functions(forward, guide_trace, codes, self.channel):
                frames = frozenset(f for f in site["cond_indep_stack"] if f.vectorized)
                downstream = cost.sum_to(site["cond_indep_stack"])
                if baseline:
                    downstream = downstream - leave_one_out(cost, downstream, frames)
                surrogate = surrogate + detach_provenance((log_q * downstream).sum())
        return DualTerms(value, per_site, surrogate)
