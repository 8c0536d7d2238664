"""Rows of figures of many runs, by name of column, as tables and CSV files give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyro_mivae.plotting import style

Rows = Sequence[Mapping[str, Any]]
"""Numbers may be text, as :class:`csv.DictReader` gives them."""


def check_columns(rows: Rows, needed: Iterable[str], expected: str) -> None:
    """Makes sure that there are rows with what is needed, and with known channels and sites.

    Args:
        rows: Rows of a figure.
        needed: Columns that no row may lack.
        expected: What the rows should have been, for the message.

    Raises:
        ValueError: If there is no row, or one lacks a column or has an unknown channel or site.
    """
    if not rows:
        raise ValueError(f"there is no run to draw: expected {expected}")
    known: dict[str, Iterable[str]] = {"channel": style.CHANNELS, "site": style.SITES}
    for position, row in enumerate(rows):
        if missing := [name for name in needed if row.get(name) in (None, "")]:
            raise ValueError(f"row {position} has no {', '.join(missing)}: expected {expected}")
        for name in known.keys() & set(needed):
            if row[name] not in known[name]:
                raise ValueError(
                    f"row {position} has {name} {row[name]!r}: expected one of {list(known[name])}"
                )


def distinct(rows: Rows, name: str) -> list[str]:
    """Lists the values of a column, each once, in the order in which they come up."""
    return list(dict.fromkeys(str(row[name]) for row in rows))


def grouped(rows: Rows, key: str, *columns: str) -> dict[float, list[tuple[float, ...]]]:
    """Collects the numbers of several columns by the values of another, in ascending order."""
    groups: dict[float, list[tuple[float, ...]]] = {
        v: [] for v in sorted({float(r[key]) for r in rows})
    }
    for row in rows:
        groups[float(row[key])].append(tuple(float(row[c]) for c in columns))
    return groups


def seeds_note(rows: Rows) -> str:
    """Says how many seeds there are, and how a figure shows them."""
    seeds = len(distinct(rows, "seed"))
    if seeds == 1:
        return "One seed"
    channels = distinct(rows, "channel")
    each = [len(distinct([r for r in rows if r["channel"] == c], "seed")) for c in channels]
    least = min(each, default=seeds)
    number = f"{seeds}" if least == seeds else f"{least} to {seeds}"
    return f"{number} seeds: each is a small point, lines go through their means"
