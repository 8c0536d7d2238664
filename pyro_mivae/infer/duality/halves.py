"""What the two halves of a dual do to the statements of a model and a guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.score_parts import ScoreParts
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.traces.sites import is_data, keep_masked, unwrap

Values = Mapping[str, Tensor]
"""The observed codes of the dual, by site."""


class Unscored(dist.MaskedDistribution):  # type: ignore[misc]
    """A distribution whose density is left out, and whose draws have their gradient all the same.

    ``.mask(False)`` would leave out the score function, too, and with it the gradient that
    reaches p(x|z) where x has no ``rsample``.
    """

    def __init__(self, base_dist: Any) -> None:
        super().__init__(base_dist, False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        return super().expand(batch_shape, self._get_checked_instance(Unscored, _instance))

    def score_parts(self, value: Tensor) -> ScoreParts:
        """Returns no density, and the score function of the draw."""
        nothing = self.log_prob(value)
        return ScoreParts(nothing, self.base_dist.score_parts(value).score_function, 0)


def _hide(msg: dict[str, Any]) -> None:
    """Leaves a statement out of traces; plates and replays still see a draw."""
    if msg["is_observed"]:
        msg["stop"] = True
    else:
        msg["infer"] = {**msg["infer"], "_do_not_trace": True, "is_auxiliary": True}


def _set(msg: dict[str, Any], value: Any) -> None:
    msg["value"], msg["done"] = value, True


class Generating(Messenger):  # type: ignore[misc]
    """p(x|z) with z given: shows x (and plates) only, as latent sites without a density.

    x has its gradient where gradients are enabled when this is made, also in a run without.
    """

    def __init__(self, values: Values, observed: tuple[str, ...], improper: bool) -> None:
        super().__init__()
        self.differentiable = torch.is_grad_enabled()
        self.values, self.observed, self.improper = values, observed, improper
        self.forward = Forward(trace=poutine.Trace())
        self.masked: dict[str, dict[str, Any]] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if site_is_subsample(msg):
            return
        name = msg["name"]
        if name in self.values:
            if msg["is_observed"]:
                raise ValueError(
                    f"the code '{name}' is observed in this call: the dual observes it itself, so "
                    "call the pair without its data"
                )
            _set(msg, self.values[name])
            msg["stop"] = True
            return
        if is_data(msg) and name not in self.observed:
            self.forward.originals[name] = msg["value"]
            self.masked[name] = {"fn": msg["fn"], "mask": msg["mask"]}
            msg["is_observed"], msg["value"] = False, None
            fn = msg["fn"]
            if self.improper:
                # The density of data is unknown: x has to come from the dual's guide.
                fn = dist.ImproperUniform(fn.support, fn.batch_shape, fn.event_shape)
            msg["fn"] = Unscored(fn)
            return
        _hide(msg)

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        # A trace of our own: the caller's may not be there.
        self.forward.trace.add_node(msg["name"], **msg.copy())
        if msg["name"] in self.forward.originals:
            data = self.forward.originals[msg["name"]]
            masked = self.masked[msg["name"]]
            with torch.set_grad_enabled(self.differentiable):
                self.forward.generated[msg["name"]] = keep_masked(masked, msg["value"], data)


class Recognizing(Messenger):  # type: ignore[misc]
    """q(z|x) with z observed; its other sites are drawn and not shown."""

    def __init__(self, values: Values, forward: Forward) -> None:
        super().__init__()
        self.values, self.forward = values, forward
        self.seen: set[str] = set()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if name in self.values:
            if isinstance(unwrap(msg["fn"]), dist.Delta):
                raise ValueError(
                    f"the guide's code site '{name}' is a Delta, a point without a density to "
                    f"observe: write a guide with a density q({name}|x)"
                )
            _set(msg, self.values[name])
            msg["is_observed"] = True
            self.seen.add(name)
        elif site_is_subsample(msg):
            if name in self.forward.trace:  # of the same plate in the model: shown once
                _set(msg, self.forward.trace.nodes[name]["value"])
                msg["stop"] = True
        else:
            _hide(msg)
