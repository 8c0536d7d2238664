"""Files and names of strangers: links out of a file, paths out of a folder, formulas, markup."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.table import Table

from benchmarks.faults import Fault, refused
from benchmarks.faults.damaged_files import write_run
from benchmarks.faults.disk import WRITERS
from experiments.command_line import console
from experiments.open_question.earlier import read_table
from experiments.runner.pool import run_study
from experiments.runner.run import Run
from experiments.tables import write_table
from pyro_mivae import plotting, runs
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs import groups
from pyro_mivae.runs.contained import NotContainedError
from pyro_mivae.runs.history import History

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "open_question.csv"
NAMES = ("../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "C:x", "", "a\nb", "\x1b[2Jx", "x" * 300)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "'quoted'")
MARKUP = ("[bold red]x[/]", "[/]", "[link=http://x]y[/link]", ":smile:")
MATHEMATICS = (r"$\frac{$", "$x$", r"$\undefined$")


def _link(kind: str, other: Path) -> Callable[[Any], None]:
    """Puts something into an HDF5 file that leads to other values."""

    def external_link(file: Any) -> None:
        file["g/y"] = h5py.ExternalLink(str(other), "/g/x")

    def external_group(file: Any) -> None:
        file["h"] = h5py.ExternalLink(str(other), "/g")

    def external_storage(file: Any) -> None:
        file["g"].create_dataset("y", shape=(8,), dtype="u1", external=[(str(other), 0, 8)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((20_000,), "f8")
        layout[:] = h5py.VirtualSource(str(other), "g/x", (20_000,))
        file["g"].create_virtual_dataset("y", layout)

    def soft_link(file: Any) -> None:
        file["g/y"] = h5py.SoftLink("/g")

    def circle(file: Any) -> None:
        file["g/y"] = file["/"]

    kinds = (external_link, external_group, external_storage, virtual, soft_link, circle)
    return {function.__name__: function for function in kinds}[kind]


def _leads_out(folder: Path, kind: str) -> None:
    path, other = folder / groups.FILE, folder / "other.nc"
    WRITERS[groups.FILE](path)
    WRITERS[groups.FILE](other)
    with h5py.File(path, "a") as file:
        _link(kind, other)(file)
    for read in (groups.read, groups.from_run):
        with refused(NotContainedError, "is not self-contained.*It is not read"):
            read(folder)


def _run_name(folder: Path, name: str) -> None:
    study = folder / "study"
    with refused(ValueError, "a run's name must be that of a folder inside its own.*rename it"):
        run_study([Run(name)], study)
    assert not study.exists()


def _earlier(folder: Path, column: str, text: str) -> None:
    """A table of earlier runs whose names lead elsewhere."""
    with RESULTS.open(newline="", encoding="utf-8") as file:
        rows = [row for _, row in zip(range(3), csv.DictReader(file), strict=False)]
    rows[1][column] = text
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with refused(ValueError, r"table.csv, line \d+: .*(rename it|plain text|number)"):
        read_table(path)


def _formula(folder: Path, text: str) -> None:
    """A name that a spreadsheet would run: it is written as text, and read as it was."""
    write_table([{"run": text, text: -1.5}], folder, "table.csv")
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not any(c.startswith(("=", "+", "@", "\t", "\r")) for c in cells), cells
    assert "-1.5" in cells, "numbers stay numbers"
    history = History()
    history.add(1, 0.5, text, {f"{text}/x": -1.5})
    history.write_csv(folder / "history.csv")
    (row,) = History.read_csv(folder / "history.csv").rows
    assert row == {k.replace("\r", "\u240d"): v for k, v in history.rows[0].items()} | {
        "split": text.replace("\r", "\u240d")
    }


def _markup(folder: Path, text: str) -> None:
    """A name with markup is shown as it is."""
    shown, table = console(), Table()
    shown.file = io.StringIO()
    table.add_column(text, no_wrap=True)
    table.add_row(text)
    shown.print(table)
    shown.print(text)
    assert shown.file.getvalue().count(text) == 3, shown.file.getvalue()


def _mathematics(folder: Path, text: str) -> None:
    """A name that matplotlib takes for mathematics is drawn as text."""
    config = write_run(folder)
    config["settings"]["model"]["prior"] = text
    runs.write_json(folder / runs.CONFIG, config)
    history = History()
    for step in (1, 2):
        history.add(step, step, "train", {"loss": 1.0, f"kl/{text}": np.float64(0.5).item()})
    (path,) = save({"curves": plotting.training_curves(history)}, folder).values()
    assert path.stat().st_size > 1000


FAULTS: dict[str, Fault] = {
    **{
        f"posterior.nc with {kind.replace('_', ' ')}": partial(_leads_out, kind=kind)
        for kind in (
            *("external_link", "external_group", "external_storage"),
            *("virtual", "soft_link", "circle"),
        )
    },
    **{f"a run called {name[:20]!r}": partial(_run_name, name=name) for name in NAMES},
    **{
        f"a table with {column} {text!r}": partial(_earlier, column=column, text=text)
        for column, text in (
            *(("run", "../../x"), ("run", "/etc"), ("arm", "../x"), ("data", "a/b")),
            *(("leading_top", "<script>"), ("top/c[0]", "x|y"), ("seed", "=1")),
        )
    },
    **{f"a formula {text!r}": partial(_formula, text=text) for text in FORMULAS},
    **{f"markup {text!r}": partial(_markup, text=text) for text in MARKUP},
    **{f"mathematics {text!r}": partial(_mathematics, text=text) for text in MATHEMATICS},
}
