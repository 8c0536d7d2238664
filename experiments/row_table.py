"""The table of a study that is kept as it grows: a row a run, added to as runs end, read again.

A study of many hours outlives the machine that its runs' folders are on. Its report is made from
the table alone, and a run that has a row is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.runner.engine import StudyConfig, keep_apart
from experiments.runner.run import Outcome, Run
from experiments.runner.stages import run_stages
from experiments.tables import Row, leaving_out, read_json, read_lines, write_table
from pyro_mivae import runs
from pyro_mivae.runs.flock import wait
from pyro_mivae.runs.names import check_name, from_cell


@dataclass(frozen=True)
class RowTable:
    """The columns of a study's table.

    Attributes:
        study: The study, for errors.
        text: Columns of plain text; ``run``, the name of the run, is one of them.
        whole_numbers: Columns of whole numbers, which every row has.
        always: Columns that every table has.
        name_of: Function that makes the name of the run from the other columns of text and of
            whole numbers.
        row_of: Function that makes a row of the content of a run's metrics.json and of its folder's
            name.
        measured: Columns of numbers that no row may lack.
    """

    study: str
    text: tuple[str, ...]
    whole_numbers: tuple[str, ...]
    always: tuple[str, ...]
    name_of: Callable[[Row], str]
    row_of: Callable[[Row, str], Row] = lambda metrics, name: metrics
    measured: tuple[str, ...] = ()

    def read(self, path: Path) -> list[Row]:
        """Reads the rows of a table; none if there is no file.

        Raises:
            ValueError: If it is no such table, or has a run twice.
        """
        if not path.exists():
            return []
        rows: list[Row] = []
        for number, line in read_lines(path, self.always, self.study):
            try:
                row = self._row(line)
                if any(row["run"] == other["run"] for other in rows):
                    raise ValueError(f"expected each run once, found {row['run']} again")
            except ValueError as error:
                where = f"{path}, line {number}"
                raise ValueError(f"{where}: {error}. Take a whole copy of the table") from None
            rows.append(row)
        return rows

    def _row(self, line: Mapping[Any, Any]) -> Row:
        if None in line or None in line.values():
            raise ValueError("expected as many cells as there are columns")
        row: Row = {}
        for column, cell in line.items():
            text = from_cell(cell)
            if column in self.text:
                row[column] = check_name(column, text)
            elif text == "":
                row[column] = None
            else:
                try:
                    row[column] = int(text) if column in self.whole_numbers else float(text)
                except ValueError:
                    raise ValueError(f"expected a number for {column}, found {text!r}") from None
        if lacking := [n for n in (*self.whole_numbers, *self.measured) if row[n] is None]:
            raise ValueError(f"expected a value of {lacking[0]}, found none")
        if row["run"] != (name := self.name_of(row)):
            raise ValueError(f"expected the run {name} of these settings, found {row['run']}")
        return row

    def add(self, path: Path, folders: Iterable[Path]) -> int:
        """Adds the runs of these folders that are done and not in the table; returns their number.

        The table is replaced as a whole, while other processes that add to it wait.

        Args:
            path: Table.
            folders: Folders of runs; those that are not done are passed over.
        """
        done = [folder / runs.METRICS for folder in folders if (folder / runs.METRICS).exists()]
        if not done:
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = wait(path.with_name(f".{path.name}.lock"), lambda: False)
        try:
            rows = self.read(path)
            known, added = {row["run"] for row in rows}, 0
            for file in done:
                with leaving_out(file):
                    row = self.row_of(read_json(file), file.parent.name)
                    missing = [name for name in self.always if name not in row]
                    if missing:
                        raise KeyError(missing[0])
                    if row["run"] not in known:
                        rows.append(row)
                        added += 1
            if added:
                write_table(rows, path.parent, path.name)
            return added
        finally:
            if lock is not None:
                lock.release(remove=True)


def run_table_study(
    config: StudyConfig,
    folder: Path,
    table: Path,
    rows: RowTable,
    *,
    names: Iterable[str],
    stages: Callable[[set[str]], Sequence[Sequence[Run]]],
    write_report: Callable[[], Path | None],
    again: str,
    closing: Callable[[], None],
) -> int:
    """Runs what has no row in the study's table, adds a row as soon as a run is done, and reports.

    Args:
        config: Machines that execute the runs.
        folder: Folder of the study.
        table: File of the table.
        rows: Columns of the table.
        names: Names of all runs that have a row when they are done.
        stages: Function that sorts the runs into stages, without those whose names it is given.
        write_report: Function that writes the report of what is done so far.
        again: Command that goes on with what is not done.
        closing: Function that prints in words what came out.

    Returns:
        The program's exit code.

    Raises:
        ValueError: If the folder has runs of another size, see :func:`keep_apart`.
    """
    keep_apart(folder, config.smoke)
    names = dict.fromkeys(names)
    rows.add(table, [folder / name for name in names])  # what ended when nobody looked

    def ended(outcome: Outcome) -> None:
        if outcome.name in names:
            rows.add(table, [folder / outcome.name])

    todo = stages({row["run"] for row in rows.read(table)})
    return run_stages(config, folder, todo, write_report, again=again, closing=closing, ended=ended)
