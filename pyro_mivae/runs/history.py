"""The history of a training: one row per reading, in nats per datum."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from pyro_mivae.runs.files import write_atomically
from pyro_mivae.runs.names import as_cell, from_cell

Cell = float | int | str
Row = dict[str, Cell]
FIRST = ("step", "epoch", "split")
"""Columns that every row has."""


def by_channel(terms: Mapping[str, float], channel: str) -> dict[str, float]:
    """Names the channel in the columns of the information: ``mi/c`` becomes ``mi/c/sample``."""
    return {
        f"{name}/{channel}" if name.split("/")[0] == "mi" else name: value
        for name, value in terms.items()
    }


class History:
    """Rows of readings, each with ``step``, ``epoch``, ``split`` and terms in nats per datum.

    Args:
        rows: Earlier rows.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = [dict(row) for row in rows or []]

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, step: int, epoch: float, split: str, terms: Mapping[str, float]) -> None:
        """Appends a row."""
        self.rows.append({"step": step, "epoch": epoch, "split": split, **terms})

    def columns(self) -> list[str]:
        """Lists all columns in the order in which they came up."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def series(self, column: str, split: str = "train") -> tuple[list[int], list[float]]:
        """Returns the steps and values of a column.

        Args:
            column: Name of the column, for example ``"kl/c"``.
            split: Name of the split, ``"train"`` or ``"validation"``.

        Raises:
            KeyError: If no row of the split has the column.
        """
        rows = [r for r in self.rows if r["split"] == split and column in r]
        if not rows:
            known = sorted({c for r in self.rows if r["split"] == split for c in r})
            raise KeyError(f"no column {column!r} in the rows of {split!r}; there are {known}")
        return [int(r["step"]) for r in rows], [float(r[column]) for r in rows]

    def write_csv(self, path: Path) -> None:
        """Writes all rows, atomically; cells that a row lacks stay empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns(), lineterminator="\n")
        writer.writerow({name: as_cell(name) for name in self.columns()})
        writer.writerows({n: as_cell(v) for n, v in row.items()} for row in self.rows)
        write_atomically(path, text.getvalue())

    @classmethod
    def read_csv(cls, path: Path) -> History:
        """Reads what :meth:`write_csv` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged.
        """
        number = 1
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                missing = [name for name in FIRST if name not in (reader.fieldnames or ())]
                if missing:
                    raise ValueError(f"it has no column {missing[0]!r}")
                rows = []
                for number, row in enumerate(reader, 2):  # noqa: B007 -- the error names it
                    rows.append(_parse(row))
                return cls(rows)
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{path} can't be read as a history (line {number}: {error}): it was damaged or "
                "edited. Delete it: the run writes it anew from its checkpoint when it is resumed"
            ) from error


def _parse(row: dict[str | None, str]) -> Row:
    if None in row or None in row.values():
        raise ValueError(f"expected {len(row)} cells, found more or fewer")
    parsed: Row = {}
    for name, cell in row.items():
        if name is not None and cell != "":
            plain = from_cell(name)
            parsed[plain] = from_cell(cell) if plain == "split" else float(cell)
    if lacking := [name for name in FIRST if name not in parsed]:
        raise ValueError(f"expected a value of {lacking[0]!r}, found none")
    parsed["step"] = int(parsed["step"])
    return parsed
