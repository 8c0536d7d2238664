"""How the dual pass generates x': running a model forward through a *channel*.

The channel says what is handed to the guide in place of the data and how
gradients reach the decoder. It decides what is learnt, so it never has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.distributions import RotatedPairs
from pyro_mivae.traces.drawing import draw
from pyro_mivae.traces.sites import is_data, keep_masked, unwrap

Channel = Literal["mean", "sample", "straight-through", "sleep"]
"""The four channels.

============================ ==================== ==========================================
channel                      x'                   gradient
============================ ==================== ==========================================
``"mean"``                   E[x | z]             pathwise; the value is a *score*, no bound
``"sample"``                 a draw               unbiased: pathwise and score-function
``"straight-through"``       a draw               biased, low variance: draw forward, mean
                                                  backward where a site has no ``rsample``
``"sleep"``                  a draw               the guide only
============================ ==================== ==========================================
"""

CHANNELS: tuple[Channel, ...] = get_args(Channel)


def check_channel(channel: Any) -> Channel:
    """Returns `channel` if it is one.

    Raises:
        TypeError: If it is left out: there is no default, as the choice decides what is learnt.
        ValueError: If it is another word.
    """
    if channel is None:
        raise TypeError(
            "the channel has no default, since it decides what is learnt: pass channel=..., one of "
            "'mean' (the mean of x', a score and no bound), 'sample' (draws, unbiased gradients), "
            "'straight-through' (draws, the mean's gradient) or 'sleep' (draws, the guide alone "
            "learns)"
        )
    if channel not in CHANNELS:
        raise ValueError(f"unknown channel {channel!r}: expected one of {', '.join(CHANNELS)}")
    checked: Channel = channel
    return checked


def has_useful_mean(fn: Any) -> bool:
    """Tells whether ``fn.mean`` is a value that data could have, decided by type.

    A Categorical's mean is NaN (without an exception), a Cauchy has none, and a
    general transformed distribution does not define one. Whether a mean is finite at its
    parameters is looked at once, by
    :func:`~pyro_mivae.infer.dual.first_look.require_finite_means`.
    """
    base = unwrap(fn)
    if isinstance(base, torch.distributions.MixtureSameFamily):
        return has_useful_mean(base.component_distribution)
    if isinstance(base, dist.MaskedMixture):
        return has_useful_mean(base.component0) and has_useful_mean(base.component1)
    if isinstance(base, RotatedPairs | dist.ZeroInflatedDistribution):
        return has_useful_mean(base.base_dist)
    meanless = (
        torch.distributions.Categorical,
        torch.distributions.Cauchy,
        torch.distributions.HalfCauchy,
    )
    inherits_none = type(base).mean is torch.distributions.Distribution.mean
    return not isinstance(base, meanless) and not inherits_none


class _StraightThrough(torch.autograd.Function):
    """The draw forward, the mean's gradient backward.

    ``draw + mean - mean.detach()`` would be inexact by a rounding error, and a
    draw has to lie exactly in the support.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(draw: Tensor, mean: Tensor) -> Tensor:
        return draw.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


def straight_through(draw: Tensor, mean: Tensor) -> Tensor:
    """Returns `draw` exactly, with the gradient of `mean` (Bengio et al. 2013).

    Args:
        draw: A draw from a distribution, any shape.
        mean: Its mean, broadcastable to the shape of `draw`.
    """
    value: Tensor = _StraightThrough.apply(draw, mean.expand(draw.shape))
    return value


@dataclass
class Forward:
    """One unconditioned run of a model.

    Attributes:
        trace: The run's trace; subsample sites included.
        generated: x' by the name of its site, with the channel's gradient.
        originals: The data value of each site in `generated`.
        score_sites: Sites whose draw has no pathwise gradient: a score-function
            term has to carry it.
        channel: How x' was generated.
        frozen: Whether nothing of the run is to have a gradient.
    """

    trace: poutine.Trace
    channel: Channel = "sample"
    frozen: bool = False
    generated: dict[str, Tensor] = field(default_factory=dict)
    originals: dict[str, Tensor] = field(default_factory=dict)
    score_sites: list[str] = field(default_factory=list)

    def detached(self) -> Forward:
        """Returns the same run without a gradient, as a guide alone learns from it."""
        trace = self.trace.copy()
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and isinstance(node["value"], Tensor):
                trace.nodes[name] = {**node, "value": node["value"].detach()}
        return Forward(
            trace=trace,
            channel=self.channel,
            frozen=True,
            generated={name: value.detach() for name, value in self.generated.items()},
            originals=self.originals,
            score_sites=self.score_sites,
        )


class NoMeanError(ValueError):
    """A channel hands on the mean of an observed site that has none that is useful."""

    REMEDY = "use channel='sample' or channel='sleep'"


class _Generate(Messenger):  # type: ignore[misc]
    """Draws every latent site and every observed one that data can stand at."""

    def __init__(
        self,
        observed: tuple[str, ...],
        forward: Forward,
        indices: Mapping[str, Tensor],
        keep: bool,
        given: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.channel = forward.channel
        self.observed = observed
        self.forward = forward
        self.indices = indices
        self.keep = keep
        self.given = given

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        # As the outermost messenger of the model it acts last: the plates have
        # broadcast msg["fn"], and condition() has put its data in msg["value"].
        if msg["done"]:
            return
        if site_is_subsample(msg):
            if msg["name"] in self.indices:
                msg["value"], msg["done"] = self.indices[msg["name"]], True
            return
        name, fn = msg["name"], msg["fn"]
        generated = is_data(msg) and name not in self.observed
        if not generated and (msg["is_observed"] or msg["value"] is not None):
            return  # given, or set by a handler of the user's
        useful_mean = has_useful_mean(fn)
        if generated:
            self._check_mean(name, fn, useful_mean)
        if generated and self.channel == "mean":
            value = fn.mean
        else:
            value = self.given[name] if name in self.given else draw(msg)
            if not getattr(fn, "has_rsample", False):
                if self.channel == "straight-through" and useful_mean:
                    value = straight_through(value, fn.mean)
                else:
                    self.forward.score_sites.append(name)
        if generated:
            if self.keep:
                value = keep_masked(msg, value, msg["value"])
            self.forward.generated[name] = value
            self.forward.originals[name] = msg["value"]
            msg["is_observed"] = False
        msg["value"] = value
        msg["done"] = True

    def _check_mean(self, name: str, fn: Any, useful_mean: bool) -> None:
        needs_mean = self.channel == "mean" or (
            self.channel == "straight-through" and not getattr(fn, "has_rsample", False)
        )
        if needs_mean and not useful_mean:
            raise NoMeanError(
                f"channel {self.channel!r} needs the mean of every observed site"
                f"{'' if self.channel == 'mean' else ' without a reparameterised sampler'}, but "
                f"site '{name}' is a {type(unwrap(fn)).__name__}, which has no useful mean: "
                f"{NoMeanError.REMEDY}"
            )


def generate(
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    channel: Channel,
    observed: tuple[str, ...] = (),
    indices: Mapping[str, Tensor] | None = None,
    keep: bool = True,
    given: Mapping[str, Tensor] | None = None,
) -> Forward:
    """Runs `model` forward: latents from their priors, data through the channel.

    Args:
        model: A Pyro model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        channel: How x' is generated, see :data:`Channel`.
        observed: Observed sites that keep their data value (covariates).
        indices: Subsample indices of plates, by name, in place of those that the model draws.
        keep: Whether x' keeps the data where a mask leaves its density out.
        given: Draws of sites, in place of new ones.

    Returns:
        The trace with x'. Under ``"sleep"`` nothing in it carries a gradient.

    Raises:
        ValueError: If the channel needs a mean that a site does not have, or a
            name in `observed` is no site of the model.
    """
    forward = Forward(trace=poutine.Trace(), channel=channel, frozen=channel == "sleep")
    traced = poutine.trace(_Generate(observed, forward, indices or {}, keep, given or {})(model))
    with torch.set_grad_enabled(torch.is_grad_enabled() and channel != "sleep"):
        forward.trace = traced.get_trace(*args, **kwargs)
    unknown = [name for name in observed if name not in forward.trace]
    if unknown:
        raise ValueError(
            f"observed={list(observed)}: the model has no site {unknown}; its sites are "
            f"{[n for n, s in forward.trace.nodes.items() if s['type'] == 'sample']}"
        )
    return forward
