"""Time of the main job's training by the way in which its steps are computed.

Runs of `experiments.mnist` take turns, each in a process of its own; the seconds are those of the
training that the run itself notes, recording, compilation, validation and checkpoints included.

    python -m benchmarks.main_job
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.machine import describe_machine, versions
from experiments.tables import read_json
from pyro_mivae import runs


@dataclass(frozen=True)
class Config:
    """The runs to time."""

    ways: tuple[str, ...] = ("never", "auto")
    """Words of the main job's --compile; ratios are to the first."""
    rounds: int = 3
    """Runs of each."""
    steps: int = 5000
    """Steps of a run."""
    data: str = "auto"
    """Data of a run, as the main job names them."""
    empty_cache: bool = True
    """Whether each run finds Inductor's cache empty, as a first run does."""
    smoke: bool = False
    """A run of seconds: one of each, few steps on the 5,000 digits."""


def train(way: str, config: Config, folder: Path) -> dict[str, Any]:
    """Makes a run in a new folder; returns its metrics."""
    flags = ["--compile", way, "--steps", str(config.steps), "--data", config.data]
    flags += ["--evidence-images", "1", "--evidence-samples", "2", "--out", str(folder / "run")]
    command = [sys.executable, "-m", "experiments.mnist", *flags, *["--smoke"] * config.smoke]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")} if config.empty_cache else {}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cache})
    metrics: dict[str, Any] = read_json(folder / "run" / runs.METRICS)
    return metrics


def main() -> None:
    """Prints the table."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.main_job")
    if config.smoke:
        config = Config(ways=config.ways, rounds=1, steps=10, data="mnist-5k", smoke=True)
    print(f"{describe_machine()}. {versions('torch', 'pyro-ppl')}.\n")
    seconds: dict[str, list[float]] = {way: [] for way in config.ways}
    said: dict[str, str] = {}
    for _ in range(config.rounds):
        for way in config.ways:
            with tempfile.TemporaryDirectory() as folder:
                metrics = train(way, config, Path(folder))
            seconds[way].append(metrics["seconds"]["training"])
            said[way] = f"{metrics['steps']['computed']}: {metrics['steps']['because']}"
    first = seconds[config.ways[0]]
    print("--compile  training, s                ratio  steps")
    for way, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, first, strict=True))
        runs_of = ", ".join(f"{one:.1f}" for one in taken)
        print(f"{way:9s}  {runs_of:26s} {ratio:6.2f}  {said[way]}")


if __name__ == "__main__":
    main()
