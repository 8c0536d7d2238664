"""Checks of arguments: one sentence with the name, what was expected, and what was found."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MOST_DRAWS = 10**8
"""The largest number of draws that is not taken for a mistake."""
SEEDS = 2**32
"""Seeds are below this, as NumPy's generator takes no others."""

Check = Callable[[str, Any], Any]
"""Looks at a value under its name; raises a ``ValueError`` or returns it."""


def check_count(name: str, number: Any, *, least: int = 1, most: int | None = None) -> int:
    """Returns a whole number of a range.

    Args:
        name: Name of the argument or flag.
        number: Value that was given.
        least: Least number that is accepted.
        most: Largest number that is accepted; None for any.

    Raises:
        ValueError: If it is no whole number, or outside the range.
    """
    accepted = f"at least {least}" if most is None else f"from {least} to {most}"
    try:
        if type(number).__name__ in ("bool", "bool_"):
            raise TypeError
        count = operator.index(number)
    except (TypeError, RuntimeError):
        raise ValueError(
            f"{name} must be a whole number, {accepted}, found {shown(number)}"
        ) from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}, found {count}")
    if most is not None and count > most:
        raise ValueError(f"{name} must be at most {most}, found {count}")
    return count


def check_draws(name: str, number: Any) -> int:
    """Returns a number of draws, from 1 to :data:`MOST_DRAWS`."""
    return check_count(name, number, most=MOST_DRAWS)


def check_seed(name: str, number: Any) -> int:
    """Returns a seed, a whole number from 0 to 2**32 - 1."""
    return check_count(name, number, least=0, most=SEEDS - 1)


def check_number(
    name: str,
    number: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Returns a finite number of a range.

    Args:
        name: Name of the argument or flag.
        number: Value that was given.
        least: Least number that is accepted.
        above: Number that it is above.
        most: Largest number that is accepted.
        below: Number that it is below.

    Raises:
        ValueError: If it is no finite number, or outside the range.
    """
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    accepted = " and ".join(f"{w} {bound:g}" for w, bound in bounds.items() if bound is not None)
    real = isinstance(number, numbers.Real) and not isinstance(number, bool)
    value = float(number) if real else math.nan
    fits = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not fits:
        words = "a finite number" + (f", {accepted}" if accepted else "")
        raise ValueError(f"{name} must be {words}, found {shown(number)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Returns True or False; other values, as ``"no"``, are refused."""
    if type(value).__name__ not in ("bool", "bool_"):  # the second is NumPy's, before its 2
        raise ValueError(f"{name} must be True or False, found {shown(value)}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Returns a value that is one of several."""
    accepted = list(choices)
    if isinstance(value, bool) or not any(value is c or value == c for c in accepted):
        words = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {words}, found {shown(value)}")
    return value


def check_callable(name: str, value: Any) -> Any:
    """Returns a function or another value that can be called."""
    if not callable(value):
        raise ValueError(f"{name} must be a callable, found {shown(value)}")
    return value


def optional(check: Check) -> Check:
    """Makes a check that also accepts None."""

    def checked(name: str, value: Any) -> Any:
        return None if value is None else check(name, value)

    return checked


def each(check: Check) -> Check:
    """Makes a check of every value of a sequence that must not be empty."""

    def checked(name: str, values: Any) -> Any:
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ValueError(f"{name} must be one or more values, found {shown(values)}")
        return [check(name, value) for value in values]

    return checked


def check_all(values: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Looks at several values by name; raises a ``ValueError`` at the first that does not fit."""
    for name, check in checks.items():
        check(name, values[name])


def shown(value: Any) -> str:
    """Writes a value for a message: short, on one line, with its type where that is no number."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
