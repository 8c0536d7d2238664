"""Draws that say which site they failed at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.traces.sites import unwrap


class NonFiniteError(ArithmeticError):
    """A term of the loss is NaN or infinite, or a distribution has such a parameter."""


def draw(site: Mapping[str, Any]) -> Any:
    """Draws the value of a sample statement.

    Raises:
        NonFiniteError: If torch refuses the draw and a parameter of the distribution is NaN or
            infinite; the message names the site and the parameter.
    """
    try:
        return site["fn"](*site["args"], **site["kwargs"])
    except (ValueError, RuntimeError) as error:
        if words := non_finite_parameters(site["fn"]):
            raise NonFiniteError(
                f"site '{site['name']}' can't be drawn: its {type(unwrap(site['fn'])).__name__} "
                f"has {words}. Look for NaN in the data or in the parameters, or take a smaller "
                "learning rate"
            ) from error
        raise


def non_finite_parameters(fn: Any) -> str:
    """Names the parameters of a distribution that are not finite, for messages; empty for none."""
    parts = []
    for name, value in vars(unwrap(fn)).items():
        if name.startswith("_") or not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            parts.append(f"{bad} of {value.numel()} values of '{name}' not finite")
    return ", ".join(parts)
