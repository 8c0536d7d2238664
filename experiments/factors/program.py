"""The measurement of the digits' factors.

Its command line is in :mod:`experiments.factors.config`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from rich import box
from rich.table import Table

from experiments.command_line import check_settings, command, console, say
from experiments.factors.config import CHECKS, Config, parse
from experiments.factors.figure import factor_distributions
from experiments.factors.fitted_laws import LAWS, factor_table, pixel_share
from experiments.results_folder import results_folder
from experiments.tables import Row, write_table
from pyro_mivae.datasets import (
    Digits,
    Split,
    load_digits,
    measured,
)
from pyro_mivae.plotting.style import DPI
from pyro_mivae.runs.files import atomic_path

DOCS = Path(__file__).parents[2] / "docs"
TABLE, FIGURE = "factors.csv", "factors.png"


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    config = parse(arguments)
    if config.smoke:
        cache = config.cache_dir or config.out / "cache"
        config = dataclasses.replace(config, data="mnist-5k", cache_dir=cache, write=False)
    try:
        check_settings(config, CHECKS)
        with results_folder(config.out):
            run(config)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(config: Config) -> None:
    """Measures the digits and writes the results."""
    started = time.monotonic()
    digits = load_digits(config.data, data_dir=config.data_dir)
    splits = [digits.test] if config.smoke else [digits.train, digits.validation, digits.test]
    factors = xr.concat(
        [measured(split, cache_dir=config.cache_dir) for split in splits],
        dim="image",
        combine_attrs="drop_conflicts",
    )
    all_digits = Split(torch.cat([s.images for s in splits]), torch.cat([s.labels for s in splits]))
    rows = factor_table(factors, all_digits.labels)
    for row in rows:
        share = row["label"] == "all"
        values = factors[row["factor"]].values
        row["pixel_share"] = (
            pixel_share(all_digits.images, values, all_digits.labels) if share else ""
        )
        row["data"] = digits.name
    table, figure = _places(config)
    write_table([_rounded(row) for row in rows], table.parent, table.name)
    drawn = factor_distributions(factors)
    figure.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(figure) as temporary:
        drawn.savefig(temporary, format="png", dpi=DPI)
    _report(rows, digits, factors)
    say(sentences(rows))
    print(f"results after {time.monotonic() - started:.0f} s: {table} and {figure}")
    print(
        f"next: does a prior of a factor's law find it?\n  {command('open_question', ['--smoke'])}"
    )


def _places(config: Config) -> tuple[Path, Path]:
    if config.write:
        return DOCS / "results" / TABLE, DOCS / "figures" / FIGURE
    return config.out / TABLE, config.out / FIGURE


def _rounded(row: Row) -> Row:
    """Rounds the numbers of a row to 6 digits; text would get an apostrophe before a minus."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def _report(rows: Sequence[dict[str, Any]], digits: Digits, factors: xr.Dataset) -> None:
    number, missing = factors.sizes["image"], int(factors["area"].isnull().sum())
    title = f"{number:,} digits of {digits.name}, of which {missing} could not be measured"
    caption = (
        "Kolmogorov-Smirnov distance from each fitted law; share of the pixels' variance "
        "within a digit"
    )
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=0)
    table.add_column("factor", no_wrap=True)
    for name in ("mean", "sd", "skew", *LAWS, "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row["label"] == "all":
            distances = [row[f"ks_{law}"] for law in LAWS]
            cells = ["–" if math.isnan(distance) else f"{distance:.3f}" for distance in distances]
            moments = (f"{row['mean']:.3g}", f"{row['sd']:.3g}", f"{row['skewness']:.2f}")
            table.add_row(row["factor"], *moments, *cells, f"{100 * row['pixel_share']:.1f}%")
    console().print(table)


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Tells which law fits the thickness, and which number to trust."""
    row = next(row for row in rows if row["label"] == "all" and row["factor"] == "thickness")
    distances = {law: row[f"ks_{law}"] for law in LAWS if not math.isnan(row[f"ks_{law}"])}
    best = min(distances, key=lambda law: distances[law])
    uniform = distances.get("uniform", math.nan)
    return [
        f"The thickness of a digit's strokes is closest to the {best} law (Kolmogorov-Smirnov "
        f"distance {distances[best]:.3f}); from the uniform law it is {uniform:.3f} away.",
        "Trust these distances, over all digits, and not a glance at a histogram: each law is "
        "fitted first.",
    ]


if __name__ == "__main__":
    sys.exit(main())
