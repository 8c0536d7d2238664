"""The sweep over weights, priors, channels and seeds.

Its command line is in :mod:`experiments.sweep.config`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from rich.table import Table

from experiments.command_line import (
    as_arguments,
    check_settings,
    command,
    console,
    plain,
    say,
    smoke_folder,
)
from experiments.mnist.config import Channel, CodePrior, parse_run
from experiments.mnist.config import Config as MnistConfig
from experiments.runner.engine import keep_apart
from experiments.runner.pool import report_outcomes
from experiments.runner.run import Outcome, Run
from experiments.sweep import together
from experiments.sweep.config import CHECKS, Config, parse
from experiments.sweep.figure import sweep_curves
from experiments.tables import leaving_out, percent, read_json, write_table
from pyro_mivae import runs
from pyro_mivae.checks import check_choice, check_count, check_number
from pyro_mivae.plotting.saving import save

TABLE = "sweep.csv"
SETTINGS = {
    "model": (
        *("prior", "posterior", "noise_prior", "code_dim", "noise_dim", "likelihood", "networks"),
        *("hidden_units", "hidden_layers", "init_gain"),
    ),
    "objective": ("channel", "mi_weight", "mi_warmup", "kl_weight", "code_scale"),
    "training": ("seed", "steps", "batch_size", "learning_rate", "precision"),
}
AXES = ("prior", "channel", "mi_weight", "seed")
"""Settings that a sweep varies."""
OWN = ("--prior", "--channel", "--mi-weight", "--seed", "--out", "--resume", "--overwrite")


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config, extra = parse(sys.argv[1:] if arguments is None else arguments)
    folder = config.out or Path("runs") / "sweep"
    if config.smoke:
        folder = smoke_folder(config.out)
        few: Any = {"mi_weights": (0.0, 1.0), "seeds": (0,)}
        if config.together:
            few = {"mi_weights": (1.0,), "seeds": (0, 1)}
        config = dataclasses.replace(config, **few, priors=("uniform",), workers=2)
    try:
        check_settings(config, CHECKS)
        keep_apart(folder, config.smoke)
        todo = make_runs(config, extra)
        require_same_settings(read_rows(folder), todo, folder)
        outcomes: list[Outcome] = []
        if config.together:
            todo, outcomes = together.train(config, todo, folder)
        outcomes += config.run(todo, folder) if todo else []
        rows = read_rows(folder)
        if rows:
            write_table(rows, folder, TABLE)
            save({"sweep_curves": sweep_curves(distinguished(rows))}, folder)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = distinguished(rows)
    _report(rows)
    say(sentences(rows))
    then = f"what a run's code really carries, from both sides\n  {_measure(rows, folder)}"
    return report_outcomes(outcomes, folder, command("sweep", arguments), then)


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Tells what the weight changes, and which number to trust."""
    lines = []
    for (prior, channel), group in itertools.groupby(
        rows, key=lambda r: (r["prior"], r["channel"])
    ):
        by_weight: dict[float, list[float]] = {}
        for row in group:
            by_weight.setdefault(row["mi_weight"], []).append(row["mi/c/sample"])
        bounds = ", ".join(
            f"{fmean(values):.2f} at λ {weight:g} ({min(values):.2f} to {max(values):.2f})"
            for weight, values in by_weight.items()
        )
        lines.append(f"{prior}, {channel}: the code carries at least (nats) {bounds}.")
    if lines:
        lines.append(
            "Trust these bounds (x' drawn), and means over seeds with their range, not single runs."
        )
    return lines


def distinguished(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds to the prior of each row the settings by which runs of one combination differ.

    Runs of other settings are no other seeds: means are over seeds alone.
    """
    names = ["data", *(name for group in SETTINGS.values() for name in group if name not in AXES)]
    groups: dict[Any, dict[str, set[str]]] = {}
    for row in rows:
        values = groups.setdefault(tuple(row[axis] for axis in AXES[:3]), {})
        for name in names:
            values.setdefault(name, set()).add(str(row.get(name)))
    apart = [n for n in names if any(len(values[n]) > 1 for values in groups.values())]
    named = [
        {
            **row,
            "prior": ", ".join(
                [row["prior"], *(f"{name.replace('_', ' ')} {row.get(name)}" for name in apart)]
            ),
        }
        for row in rows
    ]
    return sorted(named, key=lambda r: tuple(r[axis] for axis in AXES))


def require_same_settings(
    rows: Sequence[Mapping[str, Any]], todo: Sequence[Run], folder: Path
) -> None:
    """Refuses runs that would be further seeds of runs with other settings.

    Raises:
        ValueError: If a folder has such runs; the error names the settings.
    """
    for run in todo:
        config = dataclasses.asdict(parse_run([*run.arguments, "--out", "run"])[0])
        planned = {name: config[group][name] for group, names in SETTINGS.items() for name in names}
        for row in rows:
            if row["run"] == run.name or any(row[axis] != planned[axis] for axis in AXES[:3]):
                continue  # the engine compares a run with itself
            others = [
                f"{name} {row[name]} for {value}"
                for name, value in planned.items()
                if name not in AXES and name in row and str(row[name]) != str(value)
            ]
            if others:
                raise ValueError(
                    f"{folder / row['run']} has other settings than {run.name} would have "
                    f"({', '.join(others)}): they are no seeds of one model. Choose another --out"
                )


def _measure(rows: Sequence[dict[str, Any]], folder: Path) -> str:
    """The command that measures the run whose code carries most."""
    best = max(rows, key=lambda row: row["mi/c/sample"])["run"] if rows else "RUN"
    return command("information", [str(folder / best)])


def make_runs(config: Config, extra: Sequence[str]) -> list[Run]:
    """Makes the runs of a sweep; those of the first seed come first.

    Raises:
        ValueError: If a flag for experiments.mnist is the sweep's own.
    """
    given = [flag.partition("=")[0].replace("_", "-") for flag in extra]
    if own := [flag for flag in given if flag in OWN]:
        raise ValueError(
            f"{', '.join(own)} after -- would be the same for every run: expected flags that the "
            "sweep has not itself; use --priors, --channels, --mi-weights, --seeds and --out "
            "before the --"
        )
    todo = []
    combinations = itertools.product(
        config.seeds, config.channels, config.priors, config.mi_weights
    )
    for seed, channel, prior, number in combinations:
        flags = {"prior": prior, "channel": channel, "mi-weight": number, "seed": seed}
        command = (*as_arguments(flags), *(["--smoke"] if config.smoke else []), *extra)
        todo.append(Run(f"{prior}-{channel}-lambda{plain(number)}-seed{seed}", command))
    # What a run would refuse, before there is one.
    parse_run([*todo[0].arguments, "--out", "run"])
    return todo


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Reads a row for each finished run in a study's folder, from the runs' folders alone."""
    rows, defaults = [], dataclasses.asdict(MnistConfig())
    for path in folder.glob(f"*/{runs.METRICS}"):
        with leaving_out(path):
            config = runs.read_config(path.parent)
            metrics = read_json(path)
            row = {"run": path.parent.name, "data": config["data"]["name"]}
            for group, names in SETTINGS.items():
                # Runs of earlier versions lack settings that came later.
                own = {**defaults[group], **config["settings"][group]}
                row |= {name: own[name] for name in names}
            check_number("mi_weight", row["mi_weight"])
            check_count("seed", row["seed"], least=0)
            check_choice("prior", row["prior"], get_args(CodePrior))
            check_choice("channel", row["channel"], get_args(Channel))
            row |= metrics["test"]
            if (old := "mi/c/fixed-scale") in row:  # of before 0.1.0
                row["mi/c"] = row.pop(old)
            evidence = metrics["log_evidence"]
            row |= {"log_evidence": evidence["mean"], "log_evidence_se": evidence["standard_error"]}
            if "categories" in metrics:
                row["class_accuracy"] = metrics["categories"]["accuracy"]
            row["training_seconds"] = metrics["seconds"]["training"]
            rows.append(row)
    return sorted(rows, key=lambda r: (r["prior"], r["channel"], r["mi_weight"], r["seed"]))


def _report(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(title="On the test images, nats per image: mean over seeds")
    for name in ("prior", "channel", "λ", "seeds", "ELBO", "KL of c", "I(c; x') bound"):
        table.add_column(name, justify="left" if name in ("prior", "channel") else "right")
    classes: list[str] = []
    groups = itertools.groupby(rows, key=lambda r: (r["prior"], r["channel"], r["mi_weight"]))
    for (prior, channel, weight), group in groups:
        group_rows = list(group)
        means = (
            sum(r[n] for r in group_rows) / len(group_rows) for n in ("elbo", "kl/c", "mi/c/sample")
        )
        table.add_row(
            prior, channel, f"{weight:g}", str(len(group_rows)), *(f"{mean:.2f}" for mean in means)
        )
        accuracies = [r["class_accuracy"] for r in group_rows if "class_accuracy" in r]
        if accuracies:
            classes.append(f"{prior}, {channel}, λ {weight:g}: {percent(accuracies, 1)}")
    console().print(table)
    if classes:
        print("class accuracy of the category, mean and range over seeds:", *classes, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main())
