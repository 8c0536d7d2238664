"""Rows, numbers, tables and files of the studies: what their reports read and write."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from pyro_mivae import runs
from pyro_mivae.plotting import style
from pyro_mivae.runs.files import write_atomically
from pyro_mivae.runs.names import as_cell

Row = dict[str, Any]


def at(rows: Iterable[Row], **settings: object) -> list[Row]:
    """Selects the rows with these values."""
    return [row for row in rows if all(row.get(n) == value for n, value in settings.items())]


def table(title: str, head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """Writes a table with a title; nothing without a line."""
    lines = [" | ".join(map(str, line)) for line in body]
    if not lines:
        return ""
    rule = "|".join(["---"] * len(head))
    return "\n".join([f"**{title}**", "", f"| {' | '.join(head)} |", f"|{rule}|"]) + "".join(
        f"\n| {line} |" for line in lines
    )


def number(value: float | None, digits: int = 2) -> str:
    """Writes a number with a minus that is no hyphen, and with none before 0; a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return style.number(value, digits)


def percent(shares: Sequence[float], digits: int = 0) -> str:
    """Writes mean and range of shares over seeds."""
    mean, least, most = (100 * value for value in (fmean(shares), min(shares), max(shares)))
    return f"{mean:.{digits}f} % ({least:.0f} to {most:.0f} %)"


def span(interval: Sequence[float], digits: int = 3) -> str:
    """Writes an interval."""
    return " to ".join(number(end, digits) for end in interval)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        ValueError: If it is damaged; the error names it.
    """
    return runs.read_json(path, "Delete it, and start the same command again: it is made anew")


DAMAGE = (
    *(ValueError, OSError, KeyError, TypeError, IndexError, AttributeError),
    *(EOFError, zipfile.BadZipFile),
)
"""What reading a damaged file may raise."""


@contextmanager
def leaving_out(path: Path) -> Iterator[None]:
    """Goes on without a run whose files are damaged, and says which file it is.

    Args:
        path: File of the run, for errors that name none.
    """
    try:
        yield
    except DAMAGE as error:
        words = str(error)
        if str(path.parent) not in words:
            words = (
                f"{path} lacks what a finished run has ({error!r}): it was damaged, edited, or is "
                "of another version. Delete it, and start the same command again"
            )
        print(f"warning: {words}. The tables leave this run out", file=sys.stderr)


PLAIN = re.compile(r"[\w.,+()\[\]/ -]*")


def read_lines(
    path: Path, always: Sequence[str], study: str
) -> list[tuple[int, dict[str | None, Any]]]:
    """Reads the lines of a study's table, with their numbers in the file.

    Args:
        path: Table.
        always: Columns that the table must have.
        study: What the table is of, for the error.

    Raises:
        ValueError: If it is cut off, no CSV in UTF-8, has another's columns, or a name that is no
            plain text.
        OSError: If it can't be read.
    """
    if (content := path.read_bytes()) and not content.endswith(b"\n"):
        raise ValueError(
            f"{path} ends within a line, as what was cut off: take a whole copy, or end it with a "
            "new line"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            lines: list[tuple[int, Any]] = [(reader.line_num, line) for line in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no CSV in UTF-8 ({error}): name another file") from None
    columns = reader.fieldnames or ()
    for column in columns:
        if not PLAIN.fullmatch(column):
            raise ValueError(f"{path}: expected names of plain text, found the column {column!r}")
    if lacking := [name for name in always if name not in columns]:
        raise ValueError(
            f"expected a table of {study}, but {path} has no column {lacking[0]!r}: name another "
            "file"
        )
    return lines


def write_table(rows: Sequence[dict[str, Any]], folder: Path, name: str) -> None:
    """Writes a CSV atomically, with every column that a row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({name: as_cell(name) for name in columns})
    writer.writerows({n: as_cell(v) for n, v in row.items()} for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / name, text.getvalue())
