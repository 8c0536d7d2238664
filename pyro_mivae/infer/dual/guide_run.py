"""Running the guide on x': replaying the code, and noticing which sites read the data."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.dual.binding import Binding, DataArgs
from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.own_data import warn_of_own_data
from pyro_mivae.infer.dual.subsampling import (
    check_indices,
    outside_of_plates,
    require_generated_only,
    without_real_data,
)
from pyro_mivae.infer.guide_checks import moving_supports
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.isolation import aside
from pyro_mivae.traces.call import Args, Call, Kwargs
from pyro_mivae.traces.scoring import site_density
from pyro_mivae.traces.sites import (
    Codes,
    chosen_dims,
    latent_sites,
    spread,
)

logger = logging.getLogger(__name__)


class ReplayCodes(Messenger):  # type: ignore[misc]
    """A handler that gives a guide the code and the plates' indices of the forward run, no more.

    Every other site is drawn by the guide itself: by Jensen's inequality the score
    is then a bound on I(c; x') whatever the guide's dependency structure.

    Args:
        trace: The forward run.
        codes: The codes.
        own: Draws of the guide's own, in place of new ones.
    """

    def __init__(
        self, trace: poutine.Trace, codes: Codes, own: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.trace = trace
        self.codes = codes
        self.own = own or {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["done"]:
            return
        if name in self.own and name not in self.codes:
            msg["value"], msg["done"] = self.own[name], True
        if name not in self.trace or msg["done"]:
            return
        source = self.trace.nodes[name]
        if name in self.codes:
            value, dims = source["value"], self.codes[name]
            if dims is not None:
                chosen = chosen_dims(dims, msg["fn"], name, value.device)
                own = self.own.get(name)
                own = msg["fn"](*msg["args"], **msg["kwargs"]) if own is None else own
                value = torch.where(chosen, value, own)
            value = spread(value, msg["fn"])
        elif site_is_subsample(source) and site_is_subsample(msg):
            value = source["value"]
            check_indices(msg, value)
        else:
            return
        msg["value"], msg["done"] = value, True


class _MarkedDraws(ReplayCodes):
    """A handler that gives a guide the draws of a trace, with the marks of what they depend on."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if name not in self.trace or msg["done"]:
            return
        value = self.trace.nodes[name]["value"]
        # A code of the forward run does not depend on x', unless the guide draws a part of it.
        replayed = name in self.codes and self.codes[name] is None
        if not (replayed or site_is_subsample(msg)):
            value = track_provenance(value, get_provenance(msg["fn"].log_prob(value)))
        msg["value"], msg["done"] = value, True


class GuideRun:
    """A runner of guides on generated data.

    Args:
        data_args: Where x' goes, see :class:`~pyro_mivae.infer.dual.binding.Binding`.
    """

    def __init__(self, data_args: DataArgs | None) -> None:
        self._bind = Binding(data_args)

    def __call__(
        self, forward: Forward, codes: Codes, call: Call, memory: PairMemory
    ) -> poutine.Trace:
        """Returns the guide's trace, with the codes of the forward run."""

        def run(handler: Messenger, generated: dict[str, Tensor]) -> poutine.Trace:
            new_args, new_kwargs = self._bind(forward, generated, call, memory)
            return poutine.trace(handler(call.guide)).get_trace(*new_args, **new_kwargs)

        trace = run(ReplayCodes(forward.trace, codes), forward.generated)
        if memory.followed:
            return trace
        warn_of_own_data(forward, self.bind(forward, call, memory), call)
        # Once: which sites' q depend on x'? A run of its own, since what is marked loses its
        # gradient in torch.autograd.Function.
        device = next(iter(forward.generated.values())).device
        names = latent_sites(trace)
        try:
            with aside([call.guide], device):
                mark = track_provenance
                generated = {n: mark(v, frozenset({n})) for n, v in forward.generated.items()}
                marked = run(_MarkedDraws(trace, codes), generated)
            blind = {n for n in names if not get_provenance(_log_prob(marked, n))}
            memory.moving = moving_supports(forward.trace, marked, codes)
        except Exception as error:
            # Compiled or extension code that rejects tensor subclasses is given the benefit of the
            # doubt.
            logger.debug("could not follow x' through the guide: %s", error)
            memory.followed = True
            return trace
        outside = outside_of_plates(forward, codes)
        if outside:
            bound = self._bind(forward, forward.generated, call, memory)
            plain = call.with_arguments(*without_real_data(forward, bound, call))
            with aside([call.guide], device):
                require_generated_only(outside, codes, trace, _replayed(trace, plain))
        if blind:  # or the mark was lost, by writing in place or in foreign code
            with aside([call.guide], device):
                memory.blind = _unmoved(blind, trace, call)
        scored = [name for name in codes if name in names]
        if scored and memory.blind.issuperset(scored):
            where = _where(self.bind(forward, call, memory), call)
            warnings.warn(
                f"the guide ignores its data: q of the code sites {scored} does not depend on the "
                f"generated x'{where}, so the bound on the "
                "mutual information is at most 0",
                stacklevel=2,
            )
        memory.followed = True
        return trace

    def bind(self, forward: Forward, call: Call, memory: PairMemory) -> tuple[Args, Kwargs]:
        """Returns the guide's arguments with x' in place of the data."""
        return self._bind(forward, forward.generated, call, memory)

    def again(
        self, codes: Codes, call: Call, memory: PairMemory, forward: Forward, own: dict[str, Tensor]
    ) -> poutine.Trace:
        """Runs the guide on x' of another forward run of a pair that is known.

        Args:
            codes: The codes.
            call: The pair and its arguments.
            memory: What is known of the pair.
            forward: The forward run.
            own: Draws of the guide's own, in place of new ones.
        """
        args, kwargs = self.bind(forward, call, memory)
        handled = ReplayCodes(forward.trace, codes, own)(call.guide)
        return poutine.trace(handled).get_trace(*args, **kwargs)


def _where(bound: tuple[Args, Kwargs], call: Call) -> str:
    """Which arguments x' went to, for messages."""
    names = call.replaced_arguments(*bound)
    return f" (in the argument {', '.join(names)})" if names else ""


def gathering(trace: poutine.Trace, codes: Codes, blind: set[str]) -> list[dict[str, Any]]:
    """Returns the guide's sites with draws of its own that may have read x'."""
    return [
        trace.nodes[name]
        for name in latent_sites(trace)
        if name not in blind and not (name in codes and codes[name] is None)
    ]


def _log_prob(trace: poutine.Trace, name: str) -> Tensor:
    return site_density(trace.nodes[name])


def _replayed(trace: poutine.Trace, call: Call) -> poutine.Trace:
    """The guide at the draws of a trace."""
    replayed = poutine.trace(poutine.replay(call.guide, trace=trace))
    return replayed.get_trace(*call.args, **call.kwargs)


def _unmoved(blind: set[str], trace: poutine.Trace, call: Call) -> set[str]:
    """Those of the sites whose q is the same on the real data, at the same draws."""
    again = _replayed(trace, call)
    pairs = {n: (_log_prob(t, n) for t in (trace, again)) for n in blind if n in again}
    return {n for n, p in pairs.items() if torch.equal(*p)}
