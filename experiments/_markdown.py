"""Numbers and tables of the reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def table(title: str, head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """A table with a title; nothing without a line."""
    lines = [" | ".join(map(str, line)) for line in body]
    if not lines:
        return ""
    rule = "|".join(["---"] * len(head))
    return "\n".join([f"**{title}**", "", f"| {' | '.join(head)} |", f"|{rule}|"]) + "".join(
        f"\n| {line} |" for line in lines
    )


def number(value: float | None, digits: int = 2) -> str:
    """A number with a minus that is no hyphen, and with none before 0; a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def span(interval: tuple[float, float], digits: int = 3) -> str:
    """An interval."""
    return " to ".join(number(end, digits) for end in interval)
