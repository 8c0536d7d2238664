"""Tables of `experiments.open_question`: seeds, scores, the generator, weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.estimates import Mean
from experiments.open_question.design.cells import (
    MI_WEIGHT,
    SPRITES,
    Block,
    Cell,
)
from experiments.open_question.rows import (
    PRIMARIES,
    ContrastResult,
    contrast,
    main_groups,
    mean_of,
    of_cell,
)
from experiments.open_question.rules.h1 import FAMILIES
from experiments.tables import (
    Row,
    at,
    number,
    percent,
    span,
    table,
)


def p_value(value: float | None) -> str:
    """Writes a p-value for a table."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 0.0001 else "below 0.0001"


def mean_text(mean: Mean, digits: int = 2) -> str:
    """Writes a mean over seeds with its 95 % interval."""
    if len(mean.values) < 2:
        return number(mean.mean, digits)
    return f"{number(mean.mean, digits)} ({span(mean.interval(), digits)})"


def contrast_line(result: ContrastResult, adjusted: float | None) -> tuple[str, ...] | None:
    """Writes a contrast for a table: None if there are no seeds for it yet."""
    one = result.contrast
    if one is None:
        return (result.note, *["-"] * 6) if result.note else None
    return (
        number(one.mean, 3),
        span(one.interval(0.95)),
        span(one.interval(0.90)),
        p_value(one.permutation_p),
        p_value(adjusted),
        p_value(one.welch_p),
        str(one.num_seeds),
    )


def _all_cells(every: Sequence[Block]) -> list[Cell]:
    """Every cell once, in the order of the blocks."""
    return list(dict.fromkeys(cell for block in every for cell in block.cells))


def seeds_done(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """Tabulates how many seeds each cell has."""
    body: list[tuple[str, object, str]] = []
    for block in every:
        done = [f"{cell.name} {len(of_cell(rows, cell))}" for cell in block.cells]
        if done:
            body.append((block.name, block.seeds, ", ".join(done)))
        elif block.models:
            runs_done = {row["run"] for row in at(rows, data="mnist")}
            models = sum(model.name in runs_done for model in block.models)
            body.append((block.name, "-", f"{models} of {len(block.models)} models"))
    return table("Seeds that are done", ("block", "planned for each cell", "done"), body)


def scores(every: Sequence[Block], rows: Sequence[Row]) -> list[str]:
    """Tabulates the information and scores of each cell's codes, a table for each data set."""
    head = (
        *("arm, λ", "I_T", "I_S", "share_T", "Σ I(c_j; label)", "MIG of ceiling", "modularity"),
        *("DCI-D", "R² of T, S", "ELBO", "bound on I(c; x')", "live codes"),
        *("top factor of the leading code", "of each code", "seeds"),
    )
    parts = []
    for data, cells in _by_data(every).items():
        body = []
        for cell in cells:
            cell_runs = of_cell(rows, cell)
            if cell_runs:
                ceiling = number(mean_of(cell_runs, "mig_ceiling").mean)
                weights = [number(mean_of(cell_runs, name).mean) for name in ("r2/T", "r2/S")]
                body.append(
                    (
                        _short(cell),
                        *(_defined(cell_runs, name) for name in ("I_T", "I_S", "share_T")),
                        number(mean_of(cell_runs, "sum/label").mean),
                        f"{number(mean_of(cell_runs, 'mig').mean)} of {ceiling}",
                        *(
                            number(mean_of(cell_runs, name).mean)
                            for name in ("modularity", "dci_d")
                        ),
                        ", ".join(weights),
                        *(number(mean_of(cell_runs, name).mean, 1) for name in ("elbo", "mi/c")),
                        number(mean_of(cell_runs, "num_live").mean, 1),
                        count_tops([row["leading_top"] for row in cell_runs]),
                        count_tops([row[f"top/c[{i}]"] for row in cell_runs for i in range(2)]),
                        len(cell_runs),
                    )
                )
        factors = "T is scale, S is x, the label is the shape" if data in SPRITES else ""
        title = f"{data}: means over seeds (95 %); information, ELBO and bound in nats"
        parts.append(table(f"{title}; {factors}" if factors else title, head, body))
    return parts


def _by_data(every: Sequence[Block]) -> dict[str, list[Cell]]:
    cells_of: dict[str, list[Cell]] = {}
    for cell in _all_cells(every):
        cells_of.setdefault(cell.data, []).append(cell)
    return cells_of


def _short(cell: Cell) -> str:
    form = "" if cell.code_scale is None else ", InfoGAN's form"
    return f"{cell.arm}, {cell.mi_weight:g}{form}"


def _defined(rows: Sequence[Row], name: str) -> str:
    """The mean, and of how many if not of all."""
    mean = mean_of(rows, name)
    text = mean_text(mean)
    return text if len(mean.values) == len(rows) else f"{text} [{len(mean.values)} runs]"


def count_tops(leading: Iterable[str | None]) -> str:
    """Counts how often each factor is the top one."""
    tops = [top or "none" for top in leading]
    counts = sorted(((tops.count(name), name) for name in set(tops)), reverse=True)
    return ", ".join(f"{name} {count}" for count, name in counts)


def categories(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """Tabulates the information of the category of I and IN about the label."""
    body = []
    for cell in _all_cells(every):
        cell_runs = [row for row in of_cell(rows, cell) if "accuracy" in row]
        if cell_runs:
            texts = (mean_text(mean_of(cell_runs, name)) for name in ("mi/d", "mi_category_label"))
            accuracy = percent(mean_of(cell_runs, "accuracy").values)
            body.append((cell.name, accuracy, *texts, len(cell_runs)))
    head = ("cell", "class accuracy, mean (range)", "bound on I(d; x'), nats", "I(d; label), nats")
    return table("The category", (*head, "seeds"), body)


def generator(every: Sequence[Block], rows: Sequence[Row]) -> list[str]:
    """Tabulates the code that moves a factor most in each run, a table for each data set."""
    groups = {
        data: [(_short(cell), of_cell(rows, cell)) for cell in cells]
        for data, cells in _by_data(every).items()
    }
    groups["MNIST"] = main_groups(rows)
    head = (
        "arm, λ",
        "factor",
        "largest slope (absolute), sd per sd",
        "its share of the slopes squared",
    )
    parts = []
    for data, cells in groups.items():
        body = []
        for label, group_rows in cells:
            for name in ("thickness", "slant", "scale", "x"):
                pairs = [_strongest(row, name) for row in group_rows if f"slope/c[0]/{name}" in row]
                if pairs:
                    slope, share = (
                        Mean(tuple(p[i] for p in pairs if p[i] is not None)) for i in (0, 1)
                    )
                    body.append((label, name, mean_text(slope), mean_text(share), len(pairs)))
        title = f"The generator, {data}: the code that moves the factor most, means (95 %)"
        parts.append(table(title, (*head, "seeds"), body))
    return parts


def _strongest(row: Row, name: str) -> tuple[float, float]:
    pairs = [
        (abs(row[f"slope/c[{i}]/{name}"] or 0.0), row[f"exclusivity/c[{i}]/{name}"])
        for i in range(sum(n.startswith("slope/") and n.endswith(f"/{name}") for n in row))
    ]
    slope, share = max(pairs, key=lambda pair: pair[0])
    return slope, share


def weights(rows: Sequence[Row]) -> str:
    """Tabulates the interaction by the weight and the form of the information."""
    body = []
    forms = [(weight, None) for weight in (0.0, 0.5, MI_WEIGHT, 8.0)] + [(MI_WEIGHT, 1.0)]
    for weight, scale in forms:
        form = f"{weight:g}" if scale is None else f"{weight:g}, InfoGAN's form, sd {scale:g}"
        for name, label in PRIMARIES.items():
            result = contrast(
                rows,
                name,
                arms=("T", "G"),
                data=FAMILIES["re-inked"],
                mi_weight=weight,
                code_scale=scale,
            )
            if (line := contrast_line(result, None)) is not None:
                body.append((form, label, line[0], line[1], line[-1]))
    head = ("λ", "of", "interaction", "95 %", "seeds")
    return table("The interaction on re-inked digits, by weight", head, body)
