"""The loss of a training step as named terms, of `TraceMI_ELBO` and of Pyro's ELBOs."""

from __future__ import annotations

from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.infer.base_parts import BASES
from pyro_mivae.infer.elbo import TraceMI_ELBO
from pyro_mivae.traces.call import Call


def with_terms(elbo: ELBO) -> ELBO:
    """Returns `elbo`, or a :class:`TraceMI_ELBO` without its term around one of Pyro's bases.

    It gives the same loss, as terms, without waiting for the device; and ``TraceGraph_ELBO`` has
    no differentiable loss of its own.
    """
    if not isinstance(elbo, ELBO):
        instance = f": call it, {elbo.__name__}(...)" if isinstance(elbo, type) else ""
        raise ValueError(
            f"elbo: expected an ELBO, for example TraceMI_ELBO(channel='sample'), found "
            f"{getattr(elbo, '__name__', type(elbo).__name__)}{instance}"
        )
    if type(elbo) in BASES:
        return TraceMI_ELBO(channel="sleep", mi_weight=0.0, elbo=elbo)
    if not hasattr(elbo, "differentiable_loss"):
        names = ", ".join(base.__name__ for base in BASES)
        raise ValueError(
            f"elbo: {type(elbo).__name__} has no differentiable_loss, which training with a torch "
            f"optimiser takes: use TraceMI_ELBO, {names}, or train with pyro.infer.SVI"
        )
    return elbo


def loss_terms(elbo: ELBO, call: Call, **options: Any) -> dict[str, Tensor]:
    """Gives what :func:`with_terms` gives of a step: terms or, of another ELBO, the loss alone.

    The dual pass is left out at ``mi_weight=0``, unless `options` for :class:`TraceMI_ELBO` say
    ``always_dual``; they may give ``settings``, too.
    """
    if isinstance(elbo, TraceMI_ELBO):
        return elbo._terms(call, **options)
    return {"loss": elbo.differentiable_loss(call.model, call.guide, *call.args, **call.kwargs)}
