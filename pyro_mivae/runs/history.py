"""The history of a training: one row per reading, in nats per datum."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from pyro_mivae.runs.files import write_atomically

Cell = float | int | str
Row = dict[str, Cell]


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
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(path, text.getvalue())

    @classmethod
    def read_csv(cls, path: Path) -> History:
        """Reads what :meth:`write_csv` wrote."""
        with path.open(newline="") as file:
            return cls([_parse(row) for row in csv.DictReader(file)])


def _parse(row: dict[str, str]) -> Row:
    parsed: Row = {}
    for name, cell in row.items():
        if cell != "":
            parsed[name] = cell if name == "split" else float(cell)
    parsed["step"] = int(parsed["step"])
    return parsed
