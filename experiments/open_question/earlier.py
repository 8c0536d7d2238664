"""The table of earlier runs of `experiments.open_question`, read as their folders are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.open_question.rows import SCORES, cell_of
from experiments.tables import PLAIN, Row, read_lines
from pyro_mivae.runs.names import check_name, from_cell

ALWAYS = (
    *("run", "arm", "data", "mi_weight", "code_scale", "seed", *SCORES),
    *("posterior_ks", "factor_ks", "set_measured", "mi", "mi/c", "elbo", "kl/c"),
    *("r2/T", "r2/S", "sum/label", "top/c[0]", "top/c[1]"),
)
"""Columns that every run has, though some of them may be empty."""
TABLE = "open_question.csv"
TEXT = ("run", "arm", "data", "channel", "leading_top")


def read_table(path: Path) -> list[Row]:
    """Reads the rows of a table that :func:`~.report.document.write_report` has written.

    In a CSV an undefined value and one that a run does not have look the same: a column
    belongs to a run if any run of its cell has a value there, of the slopes any of its data.

    Raises:
        ValueError: If it is no such table.
        OSError: If it can't be read.
    """
    rows: list[Row] = []
    seen: set[tuple[str, int]] = set()
    for number, line in read_lines(path, ALWAYS, f"experiments.open_question ({TABLE})"):
        try:
            rows.append(_row(line))
            if (key := key_of(rows[-1])) in seen:
                raise ValueError(f"expected each run once, found {key} again")
            seen.add(key)
        except ValueError as error:
            where = f"{path}, line {number}"
            raise ValueError(f"{where}: {error}. Take a whole copy of the table") from None
    if not rows:
        raise ValueError(f"{path} has no run: expected a row for each, name another file")
    return _own_columns(rows)


def _own_columns(rows: Sequence[Row]) -> list[Row]:
    """The rows without the columns that only other cells have."""
    known: dict[object, set[str]] = {}
    for row in rows:
        defined = {name for name, value in row.items() if value is not None}
        known.setdefault(cell_of(row), set(ALWAYS)).update(defined)
        moved = {name.partition("/")[2] for name in defined if name.startswith("slope/")}
        # A code that moves nothing has slopes, of which no share is defined.
        slopes = {f"{kind}/{name}" for name in moved for kind in ("slope", "exclusivity")}
        known.setdefault(row["data"], set()).update(slopes)
    return [
        {n: v for n, v in row.items() if n in known[cell_of(row)] | known[row["data"]]}
        for row in rows
    ]


def key_of(row: Row) -> tuple[str, int]:
    """Returns what identifies a run: its cell or main model, and its seed."""
    return row["run"] if row["data"] == "mnist" else cell_of(row).name, row["seed"]


def check_kept(rows: Sequence[Row], folder: Path) -> None:
    """Makes sure that the table of a folder can be replaced without the loss of a run.

    Raises:
        ValueError: If it has a run that is not among the rows, or is no table.
    """
    path = folder / TABLE
    if path.exists():
        kept = {key_of(row) for row in rows}
        if lost := [key for key in map(key_of, read_table(path)) if key not in kept]:
            raise ValueError(
                f"{path} has {len(lost)} runs that would be lost, {lost[0]} for one: give it with "
                "--earlier, or choose other folders for the results"
            )


def seeds_of(rows: Iterable[Row]) -> dict[str, set[int]]:
    """Collects the seeds of a table, by the names of cells and main models."""
    seeds: dict[str, set[int]] = {}
    for name, seed in map(key_of, rows):
        seeds.setdefault(name, set()).add(seed)
    return seeds


def _row(line: Mapping[str | None, Any]) -> Row:
    """The values of a line; ``csv`` marks cells too many or too few by None."""
    if None in line or None in line.values():
        raise ValueError("expected as many cells as there are columns")
    row = {str(column): _value(str(column), from_cell(text)) for column, text in line.items()}
    if lacking := [n for n in ("run", "arm", "data", "mi_weight", "seed") if row[n] is None]:
        raise ValueError(f"expected a value of {lacking[0]}, found none")
    return row


def _plain(text: str) -> str:
    """Text that a report can show: no markup."""
    if not PLAIN.fullmatch(text):
        raise ValueError(
            f"expected plain text (letters, digits and .,+-()[]/), found {text[:80]!r}"
        )
    return text


def _value(column: str, text: str) -> object:
    """As it was in the run's JSON."""
    if text == "":
        return None
    if column in ("run", "arm", "data"):
        return check_name(column, text)  # parts of paths and of reports
    if column in TEXT or column.startswith("top/"):
        return _plain(text)
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    if column not in ALWAYS and "/" not in column:
        return _plain(text)  # of another version
    raise ValueError(f"expected a number for {column}, found {text!r}")
