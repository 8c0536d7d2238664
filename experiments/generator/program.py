"""The measurement of a run's images.

Its command line is in :mod:`experiments.generator.config`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.command_line import command, console, say
from experiments.generator.config import CHECKS, RESULT, Config, parse
from experiments.generator.measurements import (
    FIRST_SEED,
    doubt,
    measure,
    numbers_of,
    quality,
    read_real,
    table,
    tellings,
)
from experiments.measured_run import measure_run
from pyro_mivae import runs
from pyro_mivae.training import make_fabric

IMAGES = {"mean": "means of x'", "sample": "drawn pixels"}


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    config = parse(arguments)
    return measure_run("generator", config, CHECKS, RESULT, _shorten, run)


def _shorten(config: Config) -> Config:
    return dataclasses.replace(config, draws=min(100, config.draws))


def run(config: Config, folder: Path, out: Path) -> None:
    """Measures the run in `folder` and writes into `out`."""
    started = time.monotonic()
    device = make_fabric(config.device).device
    trained = runs.load(folder, device=device, data_dir=config.data_dir)
    if not trained.finished:
        raise ValueError(
            f"the run in {folder} is not finished (step {trained.step}): finish it first by the "
            "program that started it, with --resume"
        )
    digits = trained.data
    own = trained.settings["training"]["seed"]
    seed = FIRST_SEED + own if config.seed is None else config.seed
    reader = read_real(digits)
    measured: dict[str, Any] = {}
    for channel in dict.fromkeys(config.channels):
        result = measure(
            trained.module,
            digits.test.images,
            trained.prepare,
            reader,
            channel=channel,
            draws=config.draws,
            seed=seed,
        )
        measured[channel] = numbers_of(result)
    numbers = {
        "run": str(folder),
        "step": trained.step,
        "units": "nats",
        "settings": {**dataclasses.asdict(config), "seed": seed},
        "versions": runs.versions(),
        "commit": runs.commit(),
        "channels": measured,
        "seconds": time.monotonic() - started,
    }
    runs.write_json(out / RESULT, numbers)
    for name, of_channel in measured.items():
        if of_channel["information"]:
            title = f"Information in the {IMAGES[name]}, nats"
            console().print(table(of_channel["information"], title))
    say(sentences(measured))
    print(f"results after {numbers['seconds']:.0f} s: {out}")
    print(
        "next: InfoGAN measured in the same way, with the seeds of the findings\n  "
        + command("infogan_seeds", ["--smoke"])
    )


def sentences(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Says what the codes carry, and which number to trust."""
    channel = next(iter(measured))
    of_channel = measured[channel]
    lines = [*tellings(of_channel["information"]), quality(of_channel["generator"])]
    if warning := doubt(of_channel["generator"]):
        return [*lines, f"Trust none of these as numbers of digits: {warning}."]
    if len(measured) == 2:
        strokes = [_thickness(measured[c]["information"]) for c in ("mean", "sample")]
        if all(map(math.isfinite, strokes)):
            lines.append(
                f"The code that carries most about thickness carries {strokes[0]:.2f} nats in the "
                f"means of x', and {strokes[1]:.2f} in drawn pixels: speckle breaks strokes. "
                "Trust the means."
            )
    return lines


def _thickness(rows: Mapping[str, Mapping[str, float]]) -> float:
    return max((row["thickness"] for row in rows.values()), default=math.nan)


if __name__ == "__main__":
    sys.exit(main())
