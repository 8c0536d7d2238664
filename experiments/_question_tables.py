"""Tables of `experiments.open_question`: seeds, scores, the generator, weights, main models."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import _question_numbers as numbers
from experiments._markdown import at, number, span, table
from experiments._question_numbers import PRIMARIES, Found, Mean, Row, mean_of, of_cell
from experiments._question_rules import FAMILIES
from experiments._question_runs import MI_WEIGHT, Block, Cell


def p_value(value: float | None) -> str:
    """A p-value in a table."""
    return "-" if value is None else f"{value:.4f}"


def mean_text(mean: Mean, digits: int = 2) -> str:
    """A mean over seeds with its 95 % interval."""
    if len(mean.values) < 2:
        return number(mean.mean, digits)
    return f"{number(mean.mean, digits)} ({span(mean.interval(), digits)})"


def contrast_line(found: Found, adjusted: float | None) -> tuple[str, ...] | None:
    """A contrast in a table: None if there are no seeds for it yet."""
    one = found.contrast
    if one is None:
        return (found.note, *["-"] * 6) if found.note else None
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
    """How many seeds each cell has."""
    body = []
    for block in every:
        done = [f"{cell.name} {len(of_cell(rows, cell))}" for cell in block.cells]
        if done:
            body.append((block.name, block.seeds, ", ".join(done)))
        elif block.models:
            there = {row["run"] for row in at(rows, data="mnist")}
            models = sum(model.name in there for model in block.models)
            body.append((block.name, "-", f"{models} of {len(block.models)} models"))
    return table("Seeds that are done", ("block", "planned for each cell", "done"), body)


def scores(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """What the codes of each cell tell."""
    body = []
    for cell in _all_cells(every):
        some = of_cell(rows, cell)
        if some:
            ceiling = number(mean_of(some, "mig_ceiling").mean)
            columns = ("modularity", "dci_d", "elbo", "mi")
            body.append(
                (
                    cell.name,
                    *(mean_text(mean_of(some, name)) for name in ("I_T", "I_S", "share_T")),
                    number(mean_of(some, "sum/label").mean),
                    f"{number(mean_of(some, 'mig').mean)} of {ceiling}",
                    *(number(mean_of(some, name).mean) for name in columns),
                    _tops(some),
                    len(some),
                )
            )
    head = (
        *("cell", "I_T", "I_S", "share_T", "I(c; label)", "MIG of ceiling", "modularity"),
        *("DCI-D", "ELBO", "MI bound", "top factor of the leading code", "seeds"),
    )
    return table("All cells: means over seeds (95 %), nats", head, body)


def _tops(rows: Sequence[Row]) -> str:
    tops = [row["leading_top"] or "none" for row in rows]
    counts = sorted(((tops.count(name), name) for name in set(tops)), reverse=True)
    return ", ".join(f"{name} {count}" for count, name in counts)


def generator(every: Sequence[Block], rows: Sequence[Row]) -> str:
    """Of the code that moves T most, in each run."""
    body = []
    for cell in _all_cells(every):
        some = of_cell(rows, cell)
        for name in ("thickness", "slant", "scale", "x"):
            pairs = [_strongest(row, name) for row in some if f"slope/c[0]/{name}" in row]
            if pairs:
                slope, share = (
                    Mean(tuple(p[i] for p in pairs if p[i] is not None)) for i in (0, 1)
                )
                body.append((cell.name, name, mean_text(slope), mean_text(share), len(pairs)))
    head = ("cell", "factor", "slope, sd per sd", "its share of the slopes squared", "seeds")
    title = "The generator: the code that moves the factor most, means over seeds (95 %)"
    return table(title, head, body)


def _strongest(row: Row, name: str) -> tuple[float, float]:
    found = [
        (abs(row[f"slope/c[{i}]/{name}"] or 0.0), row[f"exclusivity/c[{i}]/{name}"])
        for i in range(2)
    ]
    slope, share = max(found, key=lambda pair: pair[0])
    return slope, share


def weights(rows: Sequence[Row]) -> str:
    """The interaction by the weight and the form of the information."""
    body = []
    forms = [(weight, None) for weight in (0.0, 0.5, MI_WEIGHT, 8.0)] + [(MI_WEIGHT, 1.0)]
    for weight, scale in forms:
        form = f"{weight:g}" if scale is None else f"{weight:g}, InfoGAN's form, sd {scale:g}"
        for name, label in PRIMARIES.items():
            settings = {"mi_weight": weight, "code_scale": scale, "data": FAMILIES["re-inked"]}
            found = numbers.contrast(rows, name, arms=("T", "G"), **settings)
            if (line := contrast_line(found, None)) is not None:
                body.append((form, label, line[0], line[1], line[-1]))
    head = ("λ", "of", "interaction", "95 %", "seeds")
    return table("The interaction on re-inked digits, by weight", head, body)


def main_models(rows: Sequence[Row]) -> str:
    """The main models: the best code of each factor."""
    body = []
    some = at(rows, data="mnist")
    keys = dict.fromkeys((row["arm"], row["mi_weight"], row["channel"]) for row in some)
    for arm, weight, channel in keys:
        chosen = at(some, arm=arm, mi_weight=weight, channel=channel)
        best = []
        for factor in ("thickness", "slant", "width", "label"):
            names = [n for n in chosen[0] if n.startswith("mi/c[") and n.endswith(f"/{factor}")]
            best.append(mean_text(Mean(tuple(max(row[name] for name in names) for row in chosen))))
        ceiling = number(mean_of(chosen, "mig_ceiling").mean)
        scores = f"{number(mean_of(chosen, 'mig').mean)} of {ceiling}"
        others = (number(mean_of(chosen, name).mean) for name in ("modularity", "elbo", "mi"))
        model = f"{arm.removeprefix('main-')}, λ {weight:g}, {channel if weight else 'no term'}"
        body.append((model, *best, scores, *others, _tops(chosen), len(chosen)))
    head = (
        *("main model", "thickness", "slant", "width", "label", "MIG of ceiling", "modularity"),
        *("ELBO", "MI bound", "top factor of the leading code", "seeds"),
    )
    title = (
        "MNIST, models of the main job: the largest I(c_j; factor), nats, means over seeds (95 %)"
    )
    return table(title, head, body)
