"""The terms of the loss from the parts of the base and the dual passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_mivae.infer.base_parts import BaseParts, times
from pyro_mivae.infer.dual.dual_pass import DualTerms


def assemble(base: BaseParts, duals: list[DualTerms], mi_weight: Any) -> dict[str, Tensor]:
    """Returns the terms of :meth:`TraceMI_ELBO.terms`.

    Args:
        base: The base's parts.
        duals: The dual passes, none if the term is left out.
        mi_weight: lambda, or None where `mi` is only reported; 1 where the dual passes are
            weighted by site.
    """
    like = base.elbo if base.surrogate is None else base.surrogate
    terms: dict[str, Tensor] = {}
    if base.log_likelihood is None:
        terms["elbo"] = _tensor(base.elbo, like).detach()
    else:
        terms["log_likelihood"] = _tensor(base.log_likelihood, like).detach()
        kl = {f"kl/{site}": _tensor(kl, like).detach() for site, kl in base.kl.items()}
        terms["kl"] = _tensor(sum(kl.values()), like)
        terms.update(kl)
    value = -_tensor(base.elbo, like)
    # Where no part has a surrogate, the value carries the gradient itself.
    own = base.surrogate is None and all(dual.surrogate is None for dual in duals)
    surrogate = -_tensor(like, like)
    if duals:
        mi = _mean([dual.value for dual in duals])
        terms["mi"] = _tensor(mi, like).detach()
        for site in duals[0].per_site:
            terms[f"mi/{site}"] = _mean([dual.per_site[site] for dual in duals]).detach()
        if mi_weight is not None:  # 0 times an infinite bound is no number
            value = value - times(mi_weight, _mean([dual.weighted for dual in duals]))
            if not own:
                weighted = times(mi_weight, _mean([dual.differentiable for dual in duals]))
                surrogate = surrogate - weighted
    if own or not surrogate.requires_grad:
        terms["loss"] = value
    else:
        terms["loss"] = value.detach() + (surrogate - surrogate.detach())
    return terms


def _mean(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / len(values)


def _tensor(value: Any, like: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not isinstance(like, Tensor):
        return torch.as_tensor(value)
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
