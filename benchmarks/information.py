"""Time and peak memory of the measurements of information.

Each runs in a process of its own, so that its peak memory is its own. By default at the sizes
of the documentation: 10,000 data and, for what draws, 5,000 samples on so many of the data as
`--draw-data` says; the time is linear in the data, and the line gives it for all of them, too.

    python -m benchmarks.information
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tyro

from benchmarks.machine import describe_machine, versions
from benchmarks.memory import process_peak
from pyro_mivae.information import (
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    pairwise_information,
    per_dimension,
    sandwich,
)
from pyro_mivae.training import make_fabric
from pyro_mivae.vae import MIVAE


@dataclass(frozen=True)
class Config:
    """Sizes of the measurements."""

    data: int = 10_000
    """Data N of the measurements under the data."""
    draw_data: int = 200
    """Data on which the measurements that draw are timed."""
    num_samples: int = 5000
    """Draws K per datum."""
    only: str | None = None
    """One measurement, in this process; prints JSON."""
    smoke: bool = False
    """A run of seconds."""


Measurement = Callable[[MIVAE, torch.Tensor, Config], Any]

# Those of the first kind draw K samples per datum, those of the second score all pairs.
DRAWING: dict[str, Measurement] = {
    "sandwich, all latents": lambda vae, x, config: sandwich(
        vae.model, vae.guide, x, num_samples=config.num_samples
    ),
    "sandwich, code among noise": lambda vae, x, config: sandwich(
        vae.model, vae.guide, x, codes="c", num_samples=config.num_samples
    ),
    "log_evidence": lambda vae, x, config: log_evidence(
        vae.model, vae.guide, x, num_samples=config.num_samples
    ),
}
PAIRING: dict[str, Measurement] = {
    "aggregate_information": lambda vae, x, config: aggregate_information(vae.guide, x),
    "elbo_decomposition": lambda vae, x, config: elbo_decomposition(vae.model, vae.guide, x),
    "pairwise_information": lambda vae, x, config: pairwise_information(vae.guide, x),
    "per_dimension, aggregate of 2,000": lambda vae, x, config: per_dimension(
        vae.model, vae.guide, x
    ),
}


def measure(name: str, config: Config) -> dict[str, float]:
    """Measures the seconds and the peak memory, in MiB, of one measurement in this process."""
    device = make_fabric().device
    torch.manual_seed(0)
    vae = MIVAE(code_dim=10, noise_dim=10, prior="gaussian").to(device)
    size = config.draw_data if name in DRAWING else config.data
    x = torch.rand(size, 28, 28, device=device).round()
    before = _peak(device)
    started = time.perf_counter()
    (DRAWING | PAIRING)[name](vae, x, config)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {
        "data": size,
        "seconds": time.perf_counter() - started,
        "peak": _peak(device),
        "before": before,
    }


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return process_peak()


def main() -> None:
    """Prints the table."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.information")
    if config.smoke:
        config = Config(data=200, draw_data=20, num_samples=20, only=config.only, smoke=True)
    if config.only is not None:
        print(json.dumps(measure(config.only, config)))
        return
    print(f"{describe_machine()}. {versions('torch', 'pyro-ppl')}.\n")
    print(
        "measurement, 20 dimensions         N      K   seconds   at N = 10,000   peak (start) MiB"
    )
    for name in DRAWING | PAIRING:
        # A smoke's peak is that of all measurements so far.
        result = measure(name, config) if config.smoke else _in_a_process(name, config)
        draws = name in DRAWING
        seconds = result["seconds"] * (10_000 / result["data"]) ** (1 if draws else 2)
        samples = config.num_samples if draws else 1
        # The part of per_dimension that grows with the square is fixed.
        scaled = "" if name.startswith("per") else f"{seconds:12.0f} s"
        print(
            f"{name:33s} {result['data']:6.0f} {samples:6d} {result['seconds']:8.1f} {scaled:>15s} "
            f"{result['peak']:9.0f} ({result['before']:.0f})"
        )


def _in_a_process(name: str, config: Config) -> dict[str, float]:
    """Measures in a process of its own, whose peak of memory is that of the measurement."""
    sizes = ["--data", config.data, "--draw-data", config.draw_data]
    command = [sys.executable, "-m", "benchmarks.information", "--only", name]
    command += map(str, [*sizes, "--num-samples", config.num_samples])
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
