"""CPU time of importing the library, beside that of importing what it builds on.

Each import has a fresh process, and they take turns, since the machines are noisy.

    python -m benchmarks.start_up
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass

import tyro

from benchmarks.machine import describe_machine, versions

MODULES = ("torch", "pyro.infer", "pyro_mivae.infer", "pyro_mivae.training")
"""What is imported; ratios are to the second."""


@dataclass(frozen=True)
class Config:
    """The imports to time."""

    rounds: int = 5
    """Processes for each module."""
    smoke: bool = False
    """A run of seconds: one process for each."""


def cpu_seconds(module: str) -> float:
    """Returns the CPU time of a process that imports a module, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(rounds: int) -> dict[str, float]:
    """Measures the median CPU seconds of each import."""
    for module in MODULES:  # files in memory, bytecode written
        cpu_seconds(module)
    taken = [{module: cpu_seconds(module) for module in MODULES} for _ in range(rounds)]
    return {module: statistics.median(times[module] for times in taken) for module in MODULES}


def main() -> None:
    """Prints the table."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.start_up")
    print(f"{describe_machine()}. {versions('torch', 'pyro-ppl')}.\n")
    medians = compare(1 if config.smoke else config.rounds)
    print("import                  CPU s   ratio")
    for module, seconds in medians.items():
        print(f"{module:20s}  {seconds:7.2f}  {seconds / medians[MODULES[1]]:6.2f}")


if __name__ == "__main__":
    main()
