"""Weights of the loss and scales of the codes: numbers, functions of the step, or these by site."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

Weight = float | Callable[[int], float]
"""A number, or a schedule: a function of the step."""

Weights = Weight | Mapping[str, Weight]
"""A weight of all code sites, or one for each of them by name."""

Scale = Weight | None
"""A standard deviation, a schedule of it, or None for the guide's own density."""

Scales = Scale | Mapping[str, Scale]
"""A scale of all continuous code sites, or scales by site; sites left out have None."""


def checked_weight(name: str, weight: Any) -> Any:
    """Returns `weight` unless it is a number that is negative or not finite."""
    if callable(weight):
        return weight
    if isinstance(weight, Tensor):
        if weight.numel() != 1:
            raise ValueError(
                f"{name} must be one number, found a tensor of shape {tuple(weight.shape)}"
            )
        if weight.device.type != "cpu":  # would have to be waited for
            return weight
        checked_weight(name, float(weight))
        return weight
    if not isinstance(weight, numbers.Real) or not math.isfinite(weight) or weight < 0:
        raise ValueError(
            f"{name} must be a finite number >= 0 or a callable of the step, found {weight!r}"
        )
    return weight


def checked_weights(name: str, weights: Any, codes: Iterable[str] | None) -> Any:
    """Returns weights, each of them checked; a mapping as a dict.

    Args:
        name: The argument's name, for the message.
        weights: A weight, or a mapping of sites to weights.
        codes: The code sites that were named; None for all that model and guide share.

    Raises:
        ValueError: If a weight is out of range, or a mapping is not of the code sites.
    """
    if not isinstance(weights, Mapping):
        return checked_weight(name, weights)
    if not weights:
        raise ValueError(f"{name} is an empty mapping: give each code site a weight, or one number")
    by_site = {site: checked_weight(_at(name, site), value) for site, value in weights.items()}
    if codes is not None:
        require_codes(name, by_site, list(codes))
        require_all(name, by_site, list(codes))
    return by_site


def checked_scales(scales: Any, codes: Iterable[str] | None) -> Any:
    """Returns what `code_scale` may be, checked; a mapping as a dict.

    Raises:
        ValueError: If a scale is no positive number, or a mapping names other sites than codes.
    """
    if not isinstance(scales, Mapping):
        return _checked_scale("code_scale", scales)
    by_site = {s: _checked_scale(_at("code_scale", s), value) for s, value in scales.items()}
    if codes is not None:
        require_codes("code_scale", by_site, list(codes))
    return by_site


def require_codes(name: str, by_site: Iterable[str], codes: list[str]) -> None:
    """Refuses a mapping that names sites which are no codes.

    Raises:
        ValueError: If it does.
    """
    if unknown := [site for site in by_site if site not in codes]:
        raise ValueError(f"{name} names the sites {unknown}, but the code sites are {codes}")


def require_all(name: str, by_site: Iterable[str], codes: list[str]) -> None:
    """Refuses a mapping without a value for one of the codes.

    Raises:
        ValueError: If one is missing.
    """
    if missing := [site for site in codes if site not in by_site]:
        raise ValueError(
            f"{name} has no weight for the code sites {missing}: give each code site one, 0 for "
            f"one that counts nothing, found weights of {list(by_site)}"
        )


def weights_at(name: str, weights: Any, step: int) -> Any:
    """Returns a weight, or a dict of them, at a step of the schedules.

    Args:
        name: The argument's name, for the message.
        weights: What :func:`checked_weights` has returned.
        step: The step.

    Raises:
        ValueError: If a schedule returns a value that is out of range.
    """
    if isinstance(weights, dict):
        return {site: weights_at(_at(name, site), value, step) for site, value in weights.items()}
    return checked_weight(f"{name} at step {step}", weights(step)) if callable(weights) else weights


def scales_at(scales: Any, step: int, name: str = "code_scale") -> Any:
    """Returns a scale, or a dict of them, at a step of the schedules.

    Raises:
        ValueError: If a schedule returns no positive number, or None.
    """
    if isinstance(scales, dict):
        return {site: scales_at(value, step, _at(name, site)) for site, value in scales.items()}
    return _checked_scale(f"{name} at step {step}", scales(step)) if callable(scales) else scales


def is_zero(weights: Any) -> bool:
    """Tells whether weights are the number 0, all of them: reading a tensor would take time."""
    if isinstance(weights, dict):
        return all(is_zero(value) for value in weights.values())
    return not isinstance(weights, Tensor) and bool(weights == 0)


def _checked_scale(name: str, scale: Any) -> Any:
    if scale is None or callable(scale):
        return scale
    positive = isinstance(scale, numbers.Real) and 0 < float(scale) < math.inf
    if not positive or isinstance(scale, bool):
        raise ValueError(f"{name} must be a positive number, or None, found {scale!r}")
    return scale


def _at(name: str, site: str) -> str:
    return f"{name}[{site!r}]"
