"""The dual pass: draw the code, generate x', score the guide on it.

    I(c; x') >= E_{z ~ p(z), x' ~ p(x|z)} [ log q(c|x') - log p(c) ]

is the bound of Barber and Agakov (2003) on the information, in nats, between the
code c and what the model generates, and the reconstruction term of a dual VAE in
which z is observed and x is latent.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import MultiFrameTensor
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.binding import Binding, DataArgs, argument_of, parameters_of
from pyro_mivae.infer.channel import Channel, Forward, generate, unwrap
from pyro_mivae.infer.checks import latent_sites

logger = logging.getLogger(__name__)

Dims = slice | int | list[int]
"""Which event dimensions of a site are code."""

Codes = Mapping[str, Dims | None]


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


def elementwise(fn: Any, value: Tensor, site: str) -> Tensor:
    """log-probability of each event dimension of a factorised distribution.

    Args:
        fn: ``Independent`` over a univariate distribution (what ``.to_event()`` makes).
        value: A value, shape ``batch_shape + event_shape``.
        site: The site's name, for the message.

    Returns:
        log-probabilities in nats, shape ``batch_shape + event_shape``.

    Raises:
        ValueError: If the distribution does not factorise over event dimensions.
    """
    base, masks = fn, []
    while isinstance(base, dist.MaskedDistribution | torch.distributions.Independent):
        if isinstance(base, dist.MaskedDistribution):
            masks.append(base._mask)
        base = base.base_dist
    if not fn.event_shape or base.event_shape:
        raise ValueError(
            f"codes slices the event dimensions of site '{site}', but its {type(base).__name__} "
            f"of event shape {tuple(base.event_shape)} does not factorise over them: expected "
            "a univariate distribution with .to_event(1); name the whole site instead"
        )
    log_prob: Tensor = base.log_prob(value)
    for mask in masks:
        if isinstance(mask, Tensor):
            mask = mask.reshape(mask.shape + (1,) * (log_prob.dim() - mask.dim()))
        log_prob = scale_and_mask(log_prob, mask=mask)
    return log_prob


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
                value = torch.where(_chosen(dims, value), value, own)
        elif site_is_subsample(source) and site_is_subsample(msg):
            value = source["value"]
        else:
            return
        msg["value"], msg["done"] = value, True


def _chosen(dims: Dims, value: Tensor) -> Tensor:
    """A mask over the last dimension, shape ``(value.shape[-1],)``."""
    chosen = torch.zeros(value.shape[-1], dtype=torch.bool, device=value.device)
    chosen[dims] = True
    return chosen


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
        if isinstance(poutine.unwrap(guide), Messenger):
            raise ValueError(
                "a GuideMessenger draws its values while the model runs and cannot be scored on "
                "generated data: write the guide as a function or a module"
            )
        use_baseline = self.baseline and self.channel == "sample"
        with _BatchNormWatch(use_baseline) as watch:
            forward = generate(model, args, kwargs, channel=self.channel, observed=self.observed)
            codes = self._resolve(forward, model, args, kwargs)
            if not codes:
                return DualTerms()
            guide_trace = self._run_guide(forward, codes, guide, args, kwargs)
        codes = self._shared(codes, guide_trace)
        return self._score(forward, guide_trace, codes, use_baseline and not watch.coupled)

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
            total = 0.0
            for sign, trace in ((1, guide_trace), (-1, forward.trace)):
                log_prob = sign * _log_prob(trace.nodes[name], dims)
                frames = [f for f in trace.nodes[name]["cond_indep_stack"] if f.vectorized]
                cost.add((frames, detach_provenance(log_prob.detach())))
                total = total + log_prob.sum()
            per_site[name] = detach_provenance(total)
        first, *others = per_site.values()
        value = sum(others, first)
        surrogate = value
        if torch.is_grad_enabled():
            for site, log_q in _score_functions(forward, guide_trace, codes, self.channel):
                frames = frozenset(f for f in site["cond_indep_stack"] if f.vectorized)
                downstream = cost.sum_to(site["cond_indep_stack"])
                if baseline:
                    downstream = downstream - _leave_one_out(cost, downstream, frames)
                surrogate = surrogate + detach_provenance((log_q * downstream).sum())
        return DualTerms(value, per_site, surrogate)


def _log_prob(site: dict[str, Any], dims: Dims | None) -> Tensor:
    """Scaled and masked log-probability of a site or of some of its dimensions."""
    if dims is None:
        log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    else:
        log_prob = elementwise(site["fn"], site["value"], site["name"])
        chosen = log_prob[..., dims if not isinstance(dims, int) else [dims]]
        log_prob = chosen.flatten(log_prob.dim() - len(site["fn"].event_shape)).sum(-1)
    return scale_and_mask(log_prob, site["scale"], site["mask"])


def _score_functions(
    forward: Forward, guide_trace: poutine.Trace, codes: Codes, channel: Channel
) -> list[tuple[dict[str, Any], Tensor]]:
    """log-probabilities, unscaled and unmasked, of the draws without a pathwise gradient.

    These are the forward run's, unless nothing of it has a gradient, and the
    guide's own draws of sites (or dimensions) that are not code.
    """
    found = []
    if channel != "sleep":
        for name in forward.score_sites:
            site = forward.trace.nodes[name]
            found.append((site, _unmasked(site["fn"]).log_prob(site["value"])))
    for name in latent_sites(guide_trace):
        site, fn = guide_trace.nodes[name], guide_trace.nodes[name]["fn"]
        if getattr(fn, "has_rsample", False) or (name in codes and codes[name] is None):
            continue
        log_q = _unmasked(fn).log_prob(site["value"])
        if name in codes:
            log_q = log_q - _log_prob({**site, "scale": 1.0, "mask": None}, codes[name])
        found.append((site, log_q))
    return [(site, log_q) for site, log_q in found if log_q.requires_grad]


def _unmasked(fn: Any) -> Any:
    """The distribution that the draw came from: a mask hides its density, not its draws."""
    base = unwrap(fn)
    added = len(fn.event_shape) - len(base.event_shape)
    shape = fn.batch_shape + fn.event_shape[:added]
    return base.expand(shape).to_event(added)


def _leave_one_out(
    cost: MultiFrameTensor, downstream: Tensor, frames: frozenset[Any]
) -> Tensor | float:
    """Mean cost of the other data, which a datum's own draw cannot have influenced.

    That holds along the plates that all cost terms and the site are in; elsewhere,
    and for a batch of one, there is no baseline.
    """
    common = frames.intersection(*cost.keys())
    dims = [f.dim for f in common if -f.dim <= downstream.dim() and downstream.shape[f.dim] > 1]
    if not dims:
        return 0.0
    count = torch.Size([downstream.shape[d] for d in dims]).numel()
    return (downstream.sum(dims, keepdim=True) - downstream) / (count - 1)


class _BatchNormWatch:
    """Notices batch normalisation in training mode, which makes data depend on each other."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self.coupled = False

    def __enter__(self) -> _BatchNormWatch:
        if self.active:
            register = torch.nn.modules.module.register_module_forward_pre_hook
            self._handle = register(self._look)
        return self

    def _look(self, module: torch.nn.Module, inputs: Any) -> None:
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.training:
            self.coupled = True

    def __exit__(self, *exception: object) -> None:
        if self.active:
            self._handle.remove()
