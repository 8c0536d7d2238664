"""Names that others chose, as text: in paths, in tables, in figures."""

from __future__ import annotations

import os
from typing import Any, TypeVar

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a cell begins with that a spreadsheet takes for a formula, and the mark of such a cell."""
LONGEST = 200

Value = TypeVar("Value")


def check_name(what: str, name: Any) -> str:
    """Returns a name if it can be that of a folder inside another one.

    Args:
        what: What is named, for the error.
        name: Name that was given.

    Raises:
        ValueError: If it would lead elsewhere, is hidden, too long, or can't be printed.
    """
    plain = isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST
    if not plain or name[:1] == "." or {"/", "\\", ":"} & set(name) or os.path.isabs(name):
        shown = repr(name) if len(repr(name)) <= 80 else f"{repr(name)[:77]}..."
        raise ValueError(
            f"{what} must be that of a folder inside its own (printable, no '/', '\\' or ':', no "
            f"'.' at its start, at most {LONGEST} characters), found {shown}: rename it"
        )
    return str(name)


def as_cell(value: Value) -> Value | str:
    """Returns a cell of a CSV that a spreadsheet shows as it is, and never runs as a formula.

    Text that begins like a formula gets an apostrophe in front, and a carriage return, which would
    end a line, is shown by its symbol; numbers stay as they are.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\u240d")
    return f"'{text}" if value.startswith(FORMULA) else text


def from_cell(text: str) -> str:
    """Returns the text that :func:`as_cell` marked."""
    return text[1:] if text[:1] == "'" and text[1:].startswith((*FORMULA, "\u240d")) else text


def as_label(name: object) -> str:
    """Returns a name as a figure shows it: without what matplotlib takes for mathematics."""
    return str(name).replace("$", r"\$")
