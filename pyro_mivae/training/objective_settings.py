"""The settings of an objective as plain values, so that a checkpoint can note and compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from torch import Tensor

NAMES = (
    *("channel", "adversary", "codes", "observed", "mi_weight", "kl_weight", "code_scale"),
    *("gradient_penalty", "num_particles", "num_dual_particles", "num_dual_samples", "baseline"),
)
"""What an ELBO or an adversarial objective may have; what one does not have is not noted."""
STEPS = (0, 1, 10, 100, 1000, 10_000)
"""Steps at which a schedule is noted."""


def objective_settings(objective: Any) -> dict[str, Any]:
    """Lists an objective's class, that of its base, and its settings.

    Args:
        objective: An ELBO of this library or of Pyro, or an adversarial objective.

    Returns:
        Plain values by name. A schedule is noted as its values at some steps, a tensor on another
        device than the CPU not at all, since it would have to be waited for.
    """
    settings: dict[str, Any] = {"objective": type(objective).__name__}
    own = getattr(objective, "__dict__", {})
    if base := own.get("base"):
        settings["base"] = type(base).__name__
    for name in NAMES:
        if name in own:
            value = _plain(own[name])
            if value is not _UNKNOWN:
                settings[name] = value
    return settings


_UNKNOWN = object()


def _plain(value: Any) -> Any:
    """A setting as a plain value that is equal to what it was, after a checkpoint, too."""
    if isinstance(value, Tensor):
        return value.item() if value.device.type == "cpu" and value.numel() == 1 else _UNKNOWN
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        plain = {str(key): _plain(part) for key, part in value.items()}
        return {key: part for key, part in plain.items() if part is not _UNKNOWN}
    if callable(value):
        return _schedule(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)


def _schedule(schedule: Callable[[int], Any]) -> Any:
    try:
        return [_plain(schedule(step)) for step in STEPS]
    except Exception:  # whatever a user's schedule does beyond the training's steps
        return _UNKNOWN
