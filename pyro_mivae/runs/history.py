"""The history of a training: one row per reading, in nats per datum."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_mivae.runs.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

Cell = float | int | str
Row = dict[str, Cell]


CHANNELS = ("mean", "sample", "straight-through", "sleep")
# As pyro_mivae.infer.CHANNELS, which loads torch.


def by_channel(terms: Mapping[str, float], channel: str) -> dict[str, float]:
    """Names the channel under which all sites were measured: ``mi/c`` becomes ``mi/c/sample``."""
    return {
        f"{name}/{channel}" if name.split("/")[0] == "mi" else name: value
        for name, value in terms.items()
    }


class History:
    """Rows of readings, each with ``step``, ``epoch``, ``split`` and terms in nats per datum.

    Terms have the names of :meth:`pyro_mivae.infer.TraceMI_ELBO.terms`: ``loss``,
    ``log_likelihood``, ``kl``, ``kl/c``, and of the loss's own information ``mi``, ``mi/c``. What
    was measured of a site under a channel, whatever the loss has, is ``mi/c/sample``.

    Args:
        rows: Earlier rows. Training rows of before 0.1.0, which named the channel, are renamed.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = [_renamed(row) for row in rows or []]

    def __repr__(self) -> str:
        splits = dict.fromkeys(str(row["split"]) for row in self.rows)
        lines = [f"History of {len(self.rows)} rows, in nats per datum"]
        for split in splits:
            row = next(r for r in reversed(self.rows) if r["split"] == split)
            names = ("loss", "log_likelihood", "elbo", "kl", "discriminator", "generator", "mi")
            shown = [name for name in names if name in row]
            terms = ", ".join(f"{name} {float(row[name]):.2f}" for name in shown)
            number = sum(r["split"] == split for r in self.rows)
            last = f"{number} rows, the last" if number > 1 else "1 row,"
            lines.append(f"  {split}: {last} at step {row['step']}: {terms or 'other terms'}")
        return "\n".join(lines)

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

    def to_pandas(self) -> pd.DataFrame:
        """Copies all rows into a table: a line for each row, NaN where it lacks a term."""
        import pandas as pd  # slow

        return pd.DataFrame(self.rows, columns=self.columns() or ["step", "epoch", "split"])

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


def _renamed(row: Mapping[str, Cell]) -> Row:
    """A row whose terms of the loss are named as the ELBO names them.

    Earlier training rows had ``mi/c/straight-through`` for ``mi/c``, the channel being the loss's.
    """
    old = [c for c in CHANNELS if f"mi/{c}" in row]
    if row.get("split") != "train" or "mi" in row or len(old) != 1:
        return dict(row)
    end = f"/{old[0]}"
    return {n.removesuffix(end) if n.startswith("mi/") else n: v for n, v in row.items()}


def _parse(row: dict[str, str]) -> Row:
    parsed: Row = {}
    for name, cell in row.items():
        if cell != "":
            parsed[name] = cell if name == "split" else float(cell)
    parsed["step"] = int(parsed["step"])
    return parsed
