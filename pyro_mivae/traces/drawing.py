"""Draws that say which site they failed at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.traces.sites import unwrap


class NonFiniteError(ArithmeticError):
    """A term of the loss or a parameter is NaN or infinite, or a draw has such parameters."""


def draw(site: Mapping[str, Any]) -> Any:
    """Draws the value of a sample statement.

    Raises:
        NonFiniteError: If torch refuses the draw and a parameter of the distribution is NaN or
            infinite; the message names the site and the parameter.
    """
    try:
        return site["fn"](*site["args"], **site["kwargs"])
    except NotImplementedError as error:
        raise ValueError(
            f"site '{site['name']}' can't be drawn: its {type(unwrap(site['fn'])).__name__} has no "
            "sampler (pyro.sample from an improper prior, say). The information term draws every "
            "latent site from its prior and every observed one from the model: use a proper "
            "distribution with a sampler, or mi_weight=0"
        ) from error
    except (ValueError, RuntimeError) as error:
        if reason := _not_finite(site):
            raise NonFiniteError(reason) from error
        raise


def _not_finite(site: Mapping[str, Any]) -> str:
    """Why a site can't be drawn, if a parameter is not finite; else empty."""
    words = non_finite_parameters(site["fn"])
    name = type(unwrap(site["fn"])).__name__
    return f"site '{site['name']}' can't be drawn: its {name} has {words}" if words else ""


def non_finite_parameters(fn: Any) -> str:
    """Names the parameters of a distribution that are not finite, for messages; empty for none."""
    parts = []
    own = getattr(unwrap(fn), "__dict__", {})
    # A OneHotCategorical has its parameters in a Categorical.
    for name, value in {**own, **getattr(own.get("_categorical"), "__dict__", {})}.items():
        if name.startswith("_") or not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            parts.append(f"{bad} of {value.numel()} values of '{name}' not finite")
    return ", ".join(parts)


def explain(error: BaseException) -> str:
    """Says which draw an error comes from, if parameters that are not finite are its cause.

    Args:
        error: What a run of a model or guide has raised.

    Returns:
        The site, its distribution and the parameter; empty if the cause is another.
    """
    if isinstance(error, NonFiniteError):
        return str(error)
    frame = error.__traceback__
    site: Any = None
    while frame is not None:
        local = frame.tb_frame.f_locals.get("msg")
        if isinstance(local, dict) and local.get("type") == "sample":
            site = local
        frame = frame.tb_next
    if site is not None and (reason := _not_finite(site)):
        return reason
    text = str(error)
    if "found invalid values" in text and any(word in text for word in ("nan", "inf")):
        # torch's check names distribution and parameter, and then prints all values.
        return (
            " ".join(text.partition("found invalid values")[0].split()) + " found NaN or infinity"
        )
    return ""


@contextmanager
def naming_draws(words: str) -> Iterator[None]:
    """Turns errors of a block that come from parameters that are not finite into one error.

    Args:
        words: Where the block stands in the training.

    Raises:
        NonFiniteError: In the place of what torch raises, with the site.
    """
    try:
        yield
    except (ArithmeticError, ValueError, RuntimeError) as error:
        reason = explain(error)
        if reason:
            raise NonFiniteError(f"{words}: {reason}") from error
        raise
