"""The same VAE trained by this library, by hand, by Pyro, NumPyro and pythae, in one run.

Same networks, weights, data, batch and optimiser (see `benchmarks.contenders`), for a plain VAE and
for the MI-VAE. Steps of all contenders alternate in one process, in an order drawn anew for each
round; a ratio is the median over rounds. (torch and JAX each have threads of their own there, so
the time per step *alone*, in a fresh process, is reported beside it.) Peak memory and start-up,
from the start of the process to the end of the first step, are those of a fresh process, too. A
contender whose package is missing has a row that says so.

    python -m benchmarks.peers --write
"""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.contenders import (
    ENTRIES,
    HAND_WRITTEN,
    TASKS,
    Contender,
    Problem,
    make,
    missing,
    synthetic_images,
)
from benchmarks.machine import describe_machine, versions
from benchmarks.peers_report import (
    Row,
    figure,
    table,
    write_csv,
)

ROOT = Path(__file__).parents[1]
SMALLEST_PROCESS = 1000  # images in a fresh process: for the libraries' memory, not the data's


@dataclass(frozen=True)
class Config:
    """The tasks to compare."""

    batch_sizes: tuple[int, ...] = (100, 1000)
    """Batch sizes; the number of images must be a multiple of each."""
    steps: int = 200
    """Rounds of alternating steps at the smallest batch size; fewer at larger ones."""
    images: int = 60_000
    """Images of an epoch."""
    epochs: int = 1
    """Epochs of each contender, alternating; the median is reported."""
    draws: int = 100
    """Losses at the same weights, for the check that all compute the same; fewer likewise."""
    alone: bool = True
    """Whether to measure each in a fresh process: start-up, memory, a step without the others."""
    write: bool = False
    """Whether to write the table, the figure and the CSV under `out`."""
    out: Path = ROOT / "docs"
    """Folder of the documentation."""
    smoke: bool = False
    """A run of seconds."""


def alternate(
    parts: dict[str, Contender], rounds: int, act: Callable[[Contender], Any]
) -> dict[str, list[float]]:
    """Times `act` for each contender, in rounds of random order; seconds by name."""
    order, shuffle = list(parts), random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            started = time.perf_counter()
            act(parts[name])
            parts[name].wait()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def loss_at_start(name: str, problem: Problem, draws: int) -> tuple[float, float]:
    """Estimates the loss per datum at the common weights, and its standard error.

    From the timed step itself, with a learning rate of 0.
    """
    contender = make(name, dataclasses.replace(problem, learning_rate=0.0))
    losses = [float(contender.step()) for _ in range(draws)]
    return statistics.fmean(losses), statistics.stdev(losses) / draws**0.5


def fresh_process(name: str, task: str, batch: int, steps: int) -> dict[str, Any]:
    """Measures start-up, memory and step of a contender with a process to itself."""
    asked = {"name": name, "task": task, "images": max(SMALLEST_PROCESS, 4 * batch)}
    asked |= {"batch": batch, "steps": steps, "started": time.time()}
    command = [sys.executable, "-m", "benchmarks.contenders", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} alone: {done.stderr.strip().splitlines()[-1]}")
    measurements: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measurements


def compare(task: str, batch: int, config: Config) -> list[Row]:
    """Compares all contenders at one batch size."""
    problem = Problem(task == "MI-VAE", synthetic_images(config.images), batch)
    smallest = min(config.batch_sizes)
    number = max(2, config.steps * smallest // batch)
    # From 8 draws on a standard error says something; the batches in memory are 4.
    draws = config.draws if config.smoke else max(8, config.draws * smallest // batch)
    rows = {name: Row(task, batch, name, reason=missing(name, task)) for name in ENTRIES}
    parts: dict[str, Contender] = {}
    for name, row in rows.items():
        if row.reason:
            continue
        print(f"{task}, batch {batch}: {name}", file=sys.stderr)
        try:
            if config.alone:
                alone = fresh_process(name, task, batch, max(5, number // 4))
                row.alone, row.first, row.peak = (alone[k] for k in ("alone", "first", "peak"))
                row.where = alone["where"]
            row.loss, row.loss_error = loss_at_start(name, problem, draws)
            parts[name] = make(name, problem)
        except Exception as error:
            # Another version of a library must not take the others' rows away.
            row.reason = f"does not run: {type(error).__name__}: {str(error).splitlines()[0]}"
    alternate(parts, min(5, number), lambda part: part.step())
    steps = alternate(parts, number, lambda part: part.step())
    alternate(parts, 1, lambda part: part.epoch(2))  # what it compiles at first
    epochs = alternate(parts, config.epochs, lambda part: part.epoch())
    for name in parts:
        row, base = rows[name], steps[HAND_WRITTEN]
        ratios = [mine / theirs for mine, theirs in zip(steps[name], base, strict=True)]
        row.step = statistics.median(steps[name])
        row.low, row.ratio, row.high = statistics.quantiles(ratios, n=4, method="inclusive")
        row.epoch = statistics.median(epochs[name])
    return list(rows.values())


def main() -> None:
    """Prints the table, and writes it with --write."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.peers")
    if config.smoke:
        config = dataclasses.replace(
            config, batch_sizes=(20,), steps=2, images=60, epochs=1, draws=3, alone=False
        )
    if any(config.images % batch for batch in config.batch_sizes):
        raise SystemExit("--images must be a multiple of every batch size")
    tasks = TASKS[-1:] if config.smoke else TASKS
    rows = [row for t in tasks for b in config.batch_sizes for row in compare(t, b, config)]
    where = describe_machine()
    used = versions("torch", "pyro-ppl", "numpyro", "jax", "pythae")
    text = table(rows, f"{where}. {used}.", config.images)
    print(text)
    if config.write:
        write_csv(config.out / "results" / "peers.csv", rows, where, used)
        (config.out / "results" / "peers.md").write_text(text, encoding="utf-8")
        figure(config.out / "figures" / "peers.png", rows, f"{where}\n{used}")


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")  # TF32 would be another arithmetic than the CPU's
    main()
