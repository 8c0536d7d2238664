"""What a step asks an ELBO for, be it ours or Pyro's."""

from __future__ import annotations

from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.infer.base_parts import BASES
from pyro_mivae.infer.elbo import TraceMI_ELBO
from pyro_mivae.traces.call import Call


def with_terms(elbo: ELBO) -> ELBO:
    """`elbo`, or a :class:`TraceMI_ELBO` without its term around one of Pyro's bases.

    It gives the same loss, as terms, without waiting for the device; and ``TraceGraph_ELBO`` has
    no differentiable loss of its own.
    """
    if type(elbo) in BASES:
        return TraceMI_ELBO(channel="sleep", mi_weight=0.0, elbo=elbo)
    return elbo


def loss_terms(elbo: ELBO, call: Call, **options: Any) -> dict[str, Tensor]:
    """What :func:`with_terms` gives of a step: terms or, of another ELBO, the loss alone.

    The dual pass is left out at ``mi_weight=0``, unless `options` for :class:`TraceMI_ELBO` say
    ``always_dual``; they may give ``weights``, too.
    """
    if isinstance(elbo, TraceMI_ELBO):
        return elbo._terms(call, **options)
    return {"loss": elbo.differentiable_loss(call.model, call.guide, *call.args, **call.kwargs)}
