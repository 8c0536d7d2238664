"""Running the guide on x': replaying the code, and noticing which sites read the data."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.dual.binding import Binding, DataArgs
from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.traces.sites import (
    Codes,
    chosen_dims,
    latent_sites,
    spread,
)

logger = logging.getLogger(__name__)


class ReplayCodes(Messenger):  # type: ignore[misc]
    """Gives a guide the code and the plates' indices of the forward run, no more.

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
                chosen = chosen_dims(dims, msg["fn"], name, value.device)
                own = msg["fn"](*msg["args"], **msg["kwargs"])
                value = torch.where(chosen, value, own)
            value = spread(value, msg["fn"])
        elif site_is_subsample(source) and site_is_subsample(msg):
            value = source["value"]
        else:
            return
        msg["value"], msg["done"] = value, True

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        # A parameter that starts from the data must not keep the mark that follows them.
        name, *init = msg["args"]
        if init:
            start = init[0]
            msg["args"] = (name, lambda: detach_provenance(start() if callable(start) else start))


class GuideRun:
    """Runs guides on generated data.

    Args:
        data_args: Where x' goes, see :class:`~pyro_mivae.infer.dual.binding.Binding`.
    """

    def __init__(self, data_args: DataArgs | None) -> None:
        self._bind = Binding(data_args)
        self._looked = False
        self._blind: set[str] = set()

    def __call__(
        self,
        forward: Forward,
        codes: Codes,
        guide: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> poutine.Trace:
        """Returns the guide's trace, with the codes of the forward run."""
        traced = poutine.trace(ReplayCodes(forward.trace, codes)(guide))

        def run(generated: dict[str, Tensor]) -> poutine.Trace:
            new_args, new_kwargs = self._bind(forward, generated, guide, args, kwargs)
            return traced.get_trace(*new_args, **new_kwargs)

        if self._looked:
            return run(forward.generated)
        # Once: which sites' q depend on x'? Compiled or extension code that rejects
        # tensor subclasses is given the benefit of the doubt.
        try:
            mark = track_provenance
            trace = run({n: mark(v, frozenset({n})) for n, v in forward.generated.items()})
            names = latent_sites(trace)
            blind = {n for n in names if not get_provenance(_log_prob(trace, n))}
        except Exception as error:
            logger.debug("could not follow x' through the guide: %s", error)
            trace, self._looked = run(forward.generated), True
            return trace
        if blind:  # or the mark was lost, by writing in place or in foreign code
            self._blind = _unmoved(blind, trace, guide, args, kwargs)
        scored = [name for name in codes if name in names]
        if scored and self._blind.issuperset(scored):
            warnings.warn(
                f"the guide ignores its data: q of the code sites {scored} does not depend on the "
                "generated x', so the bound on the mutual information is at most 0",
                stacklevel=2,
            )
        self._looked = True
        return trace

    def bind(
        self, forward: Forward, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The guide's arguments with x' in place of the data."""
        return self._bind(forward, forward.generated, guide, args, kwargs)

    def gathering(self, trace: poutine.Trace, codes: Codes) -> list[dict[str, Any]]:
        """The guide's sites with draws of its own that may have read x'."""
        return [
            trace.nodes[name]
            for name in latent_sites(trace)
            if name not in self._blind and not (name in codes and codes[name] is None)
        ]


def _log_prob(trace: poutine.Trace, name: str) -> Tensor:
    site = trace.nodes[name]
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return log_prob


def _unmoved(
    blind: set[str], trace: poutine.Trace, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> set[str]:
    """Those of the sites whose q is the same on the real data, at the same draws."""
    with torch.no_grad():
        again = poutine.trace(poutine.replay(guide, trace=trace)).get_trace(*args, **kwargs)
        pairs = {n: (_log_prob(t, n) for t in (trace, again)) for n in blind if n in again}
        return {n for n, p in pairs.items() if torch.equal(*map(detach_provenance, p))}
