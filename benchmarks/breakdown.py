"""Where the time of a training step goes: products, other kernels, copies, optimiser, Python.

The sides of `benchmarks.step_time`, one after the other: the time of a step without the profiler,
and from torch's profiler the time within operations, by kind. What is left is Python, dispatch and
waiting.

    python -m benchmarks.breakdown --write
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
import tyro
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import HIDDEN, LATENT, PIXELS
from benchmarks.machine import describe_machine, versions
from benchmarks.step_time import sides
from pyro_mivae.page_in import page_in_log1p
from pyro_mivae.training import make_fabric

ROOT = Path(__file__).parents[1]
KINDS = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "mkl::", "mkldnn::", "onednn::"),
    "optimiser": ("aten::_fused_adam",),
    "random numbers": ("aten::bernoulli", "aten::rand", "aten::normal", "aten::uniform"),
    "copies and casts": ("aten::copy_", "aten::_to_copy", "aten::clone"),
    "fused kernels": ("## Call CompiledFxGraph", "cpp_fused", "triton_"),
}
"""The first that a name of an operation starts with; every other one is an "other operation"."""
OTHER, REST = "other operations", "Python and dispatch"


@dataclass(frozen=True)
class Config:
    """The steps to profile."""

    batch_sizes: tuple[int, ...] = (100, 1000)
    """Batch sizes."""
    steps: int = 100
    """Steps at the smallest batch size; fewer at larger ones."""
    write: bool = False
    """Whether to write the table under `out`."""
    out: Path = ROOT / "docs"
    """Folder of the documentation."""
    smoke: bool = False
    """A run of seconds."""


def kind_of(name: str) -> str:
    """Returns the kind of an operation."""
    starts = ((kind, start) for kind, names in KINDS.items() for start in names)
    return next((kind for kind, start in starts if name.startswith(start)), OTHER)


def by_kind(events: Iterable[Any]) -> dict[str, float]:
    """Sums the seconds within operations themselves by kind."""
    seconds = dict.fromkeys((*KINDS, OTHER), 0.0)
    for event in events:
        if event.key.startswith(("aten::", "mkl", "onednn", "## Call", "cpp_fused", "triton_")):
            seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
            seconds[kind_of(event.key)] += getattr(event, "self_device_time_total", 0.0) / 1e6
    return seconds


def products_alone(batch_size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """Makes a step of the MI-VAE's products alone, in their order: no step is faster.

    Each of the four passes has activations of its own, as in the step, so that they come from
    memory: one product repeated finds all in the cache.
    """

    def made(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    encoder = [PIXELS, HIDDEN, HIDDEN, 2 * LATENT]
    decoder = [LATENT, HIDDEN, HIDDEN, PIXELS]
    networks = [[made(o, i) for i, o in itertools.pairwise(d)] for d in (encoder, decoder)]
    # Data and draws from the prior have no gradient; codes and generated images have.
    passes = [(0, False), (1, True), (1, False), (0, True)]
    activations = [[made(batch_size, n) for n in (encoder, decoder)[i]] for i, _ in passes]

    def step() -> None:
        for (i, _), own in zip(passes, activations, strict=True):
            for weight, x in zip(networks[i], own, strict=False):
                x @ weight.t()
        for (i, of_input), own in zip(passes[::-1], activations[::-1], strict=True):
            for layer in (2, 1, 0):
                gradient = own[layer + 1]
                gradient.t() @ own[layer]
                if layer or of_input:
                    gradient @ networks[i][layer]

    return step


def measure(step: Callable[[], None], number: int) -> dict[str, float]:
    """Measures the milliseconds of a step and of its parts."""
    for _ in range(5):
        step()
        pyro.enable_validation(False)  # as fit does after its first step
    seconds = []
    for _ in range(number):
        started = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with profile(activities=activities) as profiled:
        for _ in range(number):
            step()
    total = 1e3 * statistics.median(seconds)
    parts = {kind: 1e3 * s / number for kind, s in by_kind(profiled.key_averages()).items()}
    return {"step": total, **parts, REST: max(0.0, total - sum(parts.values()))}


def main() -> None:
    """Prints the table, and writes it with --write."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.breakdown")
    pyro.settings.set(module_local_params=True)  # as fit does
    page_in_log1p()  # for all sides
    device = make_fabric().device
    lines: list[str] = []
    smallest = min(config.batch_sizes)
    images = torch.randint(0, 256, (20_000, 28, 28), dtype=torch.uint8, device=device)
    for batch in config.batch_sizes[: 1 if config.smoke else None]:
        number = 2 if config.smoke else max(10, config.steps * smallest // batch)
        timed = sides(images, batch)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            timed[f"its products alone, {name}"] = products_alone(batch, dtype, device)
        for name, step in timed.items():
            parts = measure(step, number)
            if not lines:
                lines += [f"| batch | | {' | '.join(parts)} |", "|---" * (len(parts) + 2) + "|"]
            cells = " | ".join(f"{value:.1f}" for value in parts.values())
            lines.append(f"| {batch} | {name} | {cells} |")
            print(lines[-1])
    text = f"{describe_machine()}. {versions('torch', 'pyro-ppl')}.\n\n" + "\n".join(lines) + "\n"
    print(text)
    if config.write:
        (config.out / "results" / "breakdown.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
