"""Median time of a training step of the library over a hand-written PyTorch loop.

Same networks, loss, optimiser and data; the two sides alternate in one run, since the
machines are noisy. The hand-written side is what a good PyTorch user would write for the
Gaussian MI-VAE with the poster's channel (x' is the decoder's mean).

    python -m benchmarks.step_time --batch-sizes 100 1000
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
import tyro
from torch import Tensor

from benchmarks.contenders.by_hand import HandWritten, update
from benchmarks.contenders.library import make_loop
from benchmarks.machine import describe_machine, versions
from pyro_mivae.batches import Batches
from pyro_mivae.infer import CHANNELS, Channel, TraceMI_ELBO
from pyro_mivae.page_in import page_in_log1p
from pyro_mivae.training import make_fabric
from pyro_mivae.training.steps import Compile
from pyro_mivae.vae import MIVAE


@dataclass(frozen=True)
class Config:
    """The steps to time."""

    batch_sizes: tuple[int, ...] = (100, 1000)
    """Batch sizes."""
    steps: int = 200
    """Timed steps of each side at the smallest batch size; fewer at larger ones."""
    channels: bool = False
    """Compare the four channels instead, eager and compiled, with one hand-written loop."""
    prior: str = "gaussian"
    """Prior of the library's code; the hand-written loop's is Gaussian."""
    smoke: bool = False
    """A run of seconds."""


def hand_written_step(images: Tensor, batch_size: int) -> Callable[[], None]:
    """Makes a step of the hand-written loop."""
    module = HandWritten().to(images.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(images), device=images.device)
    position = 0

    def step() -> None:
        nonlocal position
        index = order[position : position + batch_size]
        position = (position + batch_size) % (len(images) - batch_size)
        update(module, optimizer, torch.bernoulli(images[index] / 255.0))

    return step


def library_step(
    images: Tensor,
    batch_size: int,
    compiled: Compile = False,
    precision: str = "32-true",
    channel: Channel = "mean",
    prior: str = "gaussian",
) -> Callable[[], None]:
    """Makes a step of :func:`pyro_mivae.training.fit`."""
    vae = MIVAE(prior=prior)
    batches = Batches([images], batch_size, 0, vae.observe)
    elbo = TraceMI_ELBO(channel=channel, codes="c")
    return make_loop(
        vae, elbo, batches, device=images.device.type, compile=compiled, precision=precision
    ).one_step


def sides(
    images: Tensor, batch_size: int, prior: str = "gaussian"
) -> dict[str, Callable[[], None]]:
    """Makes the steps to time, by name; the others are compared with the first."""
    half = "bf16-mixed"
    return {
        "hand-written": hand_written_step(images, batch_size),
        "eager": library_step(images, batch_size, prior=prior),
        "replayed": library_step(images, batch_size, "replay", prior=prior),
        "compiled": library_step(images, batch_size, True, prior=prior),
        "eager, bf16": library_step(images, batch_size, precision=half, prior=prior),
        "replayed, bf16": library_step(images, batch_size, "replay", half, prior=prior),
        "compiled, bf16": library_step(images, batch_size, True, half, prior=prior),
    }


def by_channel(images: Tensor, batch_size: int, prior: str) -> dict[str, Callable[[], None]]:
    """Makes the hand-written step (channel mean), and each channel's, eager and compiled."""
    steps = {"hand-written": hand_written_step(images, batch_size)}
    for channel, compiled in itertools.product(CHANNELS, (False, True)):
        name = f"{channel}, compiled" if compiled else channel
        steps[name] = library_step(images, batch_size, compiled, channel=channel, prior=prior)
    return steps


def compare(
    batch_size: int, steps: int, channels: bool, prior: str = "gaussian"
) -> dict[str, tuple[float, float]]:
    """Times each side's step: its median in seconds, and that of its ratios to the first side's."""
    device = make_fabric().device
    images = torch.randint(0, 256, (20_000, 28, 28), dtype=torch.uint8, device=device)
    timed = (by_channel if channels else sides)(images, batch_size, prior)
    for _ in range(5):
        for step in timed.values():
            step()
        pyro.enable_validation(False)  # as fit does after its first step
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(steps):
        for name, step in timed.items():
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    first = next(iter(seconds.values()))
    return {
        name: (
            statistics.median(taken),
            statistics.median(a / b for a, b in zip(taken, first, strict=True)),
        )
        for name, taken in seconds.items()
    }


def main() -> None:
    """Prints the table."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.step_time")
    pyro.settings.set(module_local_params=True)  # as fit does
    page_in_log1p()  # for all sides
    print(f"{describe_machine()}. {versions('torch', 'pyro-ppl')}.\n")
    smallest = min(config.batch_sizes)
    print("batch  side                        median      ratio (median of pairs)")
    for batch_size in config.batch_sizes[: 1 if config.smoke else None]:
        steps = 2 if config.smoke else max(20, config.steps * smallest // batch_size)
        timings = compare(batch_size, steps, config.channels, config.prior)
        for name, (seconds, ratio) in timings.items():
            print(f"{batch_size:5d}  {name:26s}  {1e3 * seconds:6.2f} ms  {ratio:.3f}")


if __name__ == "__main__":
    main()
