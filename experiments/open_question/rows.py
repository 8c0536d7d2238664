"""The rows of `experiments.open_question`, one a run: read from folders, selected, compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.contrasts import Contrast, interaction
from experiments.estimates import Mean, is_number
from experiments.open_question.design.cells import (
    ADDED,
    MI_WEIGHT,
    MOST_SEEDS,
    Adds,
    Block,
    Cell,
    MainModel,
)
from experiments.tables import Row, at, leaving_out, read_json
from pyro_mivae import runs

PRIMARIES = {"I_T": "I_T (nats)", "share_T": "share_T"}
"""The two primary measures, and their names in tables."""
SCORES = (
    *("I_T", "I_S", "share_T", "leading", "leading_top", "num_live"),
    *("mig", "mig_ceiling", "modularity", "modularity_ceiling", "modularity_pair"),
    *("dci_d", "dci_c"),
)


def read_rows(every: Iterable[Block], folder: Path, earlier: Sequence[Row] = ()) -> list[Row]:
    """Reads the rows of all that is done of the blocks, whichever seeds these are.

    Args:
        every: Blocks of the study.
        folder: Folder of the study.
        earlier: Rows of other folders, which fill in what this one has not.
    """
    rows: list[Row] = []
    blocks = list(every)
    for cell in dict.fromkeys(cell for block in blocks for cell in block.cells):
        rows += cell_rows(cell, folder, earlier)
    for model in dict.fromkeys(model for block in blocks for model in block.models):
        path = folder / f"codes-{model.name}" / runs.METRICS
        if path.exists():
            with leaving_out(path):
                rows.append(_main_row(model, read_json(path)))
        else:
            rows += at(earlier, run=model.name)
    return rows


def cell_rows(cell: Cell, folder: Path, earlier: Iterable[Row] = ()) -> list[Row]:
    """Reads the seeds of a cell, in their order.

    A seed is there once, though two runs may hold it (of another --seeds): a run is a function of
    its seed.
    """
    before = {row["seed"]: row for row in of_cell(earlier, cell)}
    by_seed: dict[int, Row] = {}
    for path in sorted(folder.glob(f"{cell.name}-seeds*/seed*.json")):
        with leaving_out(path):
            numbers = read_json(path)
            by_seed.setdefault(numbers["seed"], _arm_row(cell, numbers, path.parent.name))
    by_seed = before | by_seed
    return [by_seed[seed] for seed in sorted(by_seed)]


def _arm_row(cell: Cell, numbers: Mapping[str, Any], run: str) -> Row:
    row: Row = {
        "run": run,
        "arm": cell.arm,
        "data": cell.data,
        "mi_weight": cell.mi_weight,
        "code_scale": cell.code_scale,
        "seed": numbers["seed"],
    }
    return {**row, **_measured(numbers)}


def _main_row(model: MainModel, numbers: Mapping[str, Any]) -> Row:
    row: Row = {
        "run": model.name,
        "arm": f"main-{model.prior}",
        "data": "mnist",
        "mi_weight": model.mi_weight,
        "code_scale": None,
        "channel": model.channel,
        "seed": model.seed,
    }
    return {**row, **_measured(numbers)}


def _measured(numbers: Mapping[str, Any]) -> Row:
    """Flattens the numbers that tables and tests read."""
    alignment, moved, checks = (numbers[name] for name in ("alignment", "generator", "checks"))
    row: Row = {name: alignment[name] for name in SCORES}
    row |= {f"sum/{name}": value for name, value in alignment["sums"].items()}
    row |= dict(zip(("r2/T", "r2/S"), alignment["informativeness"], strict=True))
    row |= {f"top/c[{i}]": top for i, top in enumerate(alignment["top"])}
    for name, line in zip(alignment["codes"], alignment["mi"], strict=True):
        row |= {f"mi/{name}/{f}": v for f, v in zip(alignment["factors"], line, strict=True)}
    crossed = numbers.get("cross_checks", {})
    for kind, factors in (("ksg", "factors"), ("within", "within_factors")):
        names = alignment["factors"] if factors == "factors" else crossed.get(factors, [])
        for name, line in zip(
            alignment["codes"], crossed.get(kind, []), strict=False
        ):  # of c alone
            row |= {f"{kind}/{name}/{f}": v for f, v in zip(names, line, strict=True)}
    row |= numbers["terms"]
    row |= numbers.get("category", {})
    row["posterior_ks"] = max(checks["posterior_ks"])
    for name, worst in (("factor_ks", max), ("set_measured", min)):
        values = checks.get(name) or {}
        row[name] = worst(values.values()) if values else None
    for i, (slopes, shares) in enumerate(zip(moved["slope"], moved["exclusivity"], strict=True)):
        for name, slope, share in zip(moved["measured"], slopes, shares, strict=True):
            row |= {f"slope/c[{i}]/{name}": slope, f"exclusivity/c[{i}]/{name}": share}
    row["unmeasured"] = checks["unmeasured"]
    row["generator_missing"] = max(max(line) for line in moved["num_missing"])
    row["seconds"] = numbers["seconds"]["total"]
    return row


def of_cell(rows: Iterable[Row], cell: Cell) -> list[Row]:
    """Selects the rows of a cell."""
    settings = {"mi_weight": cell.mi_weight, "code_scale": cell.code_scale}
    return at(rows, arm=cell.arm, data=cell.data, **settings)


def cell_of(row: Row) -> Cell:
    """Returns the cell of a row."""
    return Cell(row["arm"], row["data"], row["mi_weight"], row["code_scale"])


@dataclass(frozen=True)
class ContrastResult:
    """A contrast of the finished runs; None with too few seeds, or where it is not defined."""

    contrast: Contrast | None
    note: str = ""
    """Reason why it is not defined."""


def contrast(
    rows: Iterable[Row],
    value: str,
    *,
    arms: tuple[str, str],
    data: tuple[str, str],
    mi_weight: float = MI_WEIGHT,
    code_scale: float | None = None,
) -> ContrastResult:
    """Computes the interaction over the seeds that all four cells have."""
    candidates = at(rows, mi_weight=mi_weight, code_scale=code_scale)
    cells = [at(candidates, arm=arm, data=name) for arm in arms for name in data]
    shared = set.intersection(*({row["seed"] for row in cell} for cell in cells))
    if len(shared) < 2:
        return ContrastResult(None)
    chosen = [row for cell in cells for row in cell if row["seed"] in shared]
    lost = [row for row in chosen if not is_number(row[value])]
    if lost:
        return ContrastResult(None, f"not defined in {len(lost)} runs, {lost[0]['run']} for one")
    names = ("arm", "data", "seed")
    return ContrastResult(interaction(chosen, value, arms=arms, data=data, columns=names))


def mean_of(rows: Iterable[Row], value: str) -> Mean:
    """Averages a column over the runs for which it is defined; the caller counts the others."""
    return Mean(tuple(float(row[value]) for row in rows if is_number(row[value])))


def paired(first: Sequence[Row], second: Sequence[Row], value: str) -> Mean:
    """Averages the difference of two cells over the seeds that both have."""
    one, other = ({row["seed"]: row[value] for row in rows} for rows in (first, second))
    seeds = [s for s in one if s in other and is_number(one[s]) and is_number(other[s])]
    return Mean(tuple(float(one[s] - other[s]) for s in seeds))


def main_groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Lists the runs of each main model, with its name."""
    groups: dict[str, list[Row]] = {}
    for row in at(rows, data="mnist"):
        term = row["channel"] if row["mi_weight"] else "no term"
        name = f"{row['arm'].removeprefix('main-')}, λ {row['mi_weight']:g}, {term}"
        groups.setdefault(name, []).append(row)
    return list(groups.items())


def planned_seeds(every: Sequence[Block], cell: Cell, *kinds: Adds) -> int:
    """Returns the largest number of seeds that blocks of these kinds have for a cell."""
    return max((b.seeds for b in every if cell in b.cells and b.adds in kinds), default=0)


def without_fresh(every: Sequence[Block], rows: Sequence[Row]) -> list[Row]:
    """Selects the runs that were planned, or added by the rule of H1."""
    most: dict[Cell, int] = {}
    for cell in (cell for block in every for cell in block.cells):
        most[cell] = MOST_SEEDS if cell in ADDED else planned_seeds(every, cell, "plan")
    return [
        row for row in rows if row["data"] == "mnist" or row["seed"] < most.get(cell_of(row), 0)
    ]
