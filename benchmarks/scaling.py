"""How the cost of a training step grows: batch, code, particles, samples, width, data-set size.

Each curve is fitted by a power law over its upper half, where what every step costs anyway no
longer counts for most, and is held against two exponents: the *limit*, that of the largest term
of the mathematics, and that of the floating-point operations counted at the same points. The
points of a curve alternate, in an order drawn anew for each round. On a GPU the same runs there.

    python -m benchmarks.scaling --write
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyro
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders import synthetic_images
from benchmarks.contenders.by_hand import device_here, wait_for
from benchmarks.contenders.library import make_loop, memory_mapped
from benchmarks.machine import anonymous_memory, describe_machine, versions
from benchmarks.scaling_report import (
    Curve,
    Point,
    figure,
    table,
    write_csv,
)
from experiments.mnist.config import COMPILE
from pyro_mivae.batches import Batches
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training.loop import Loop
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

ROOT = Path(__file__).parents[1]
IMAGES = 20_000  # of the curves other than that of the data-set size; on the device


@dataclass(frozen=True)
class Config:
    """The points of each curve."""

    batch: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    """Batch sizes."""
    code: tuple[int, ...] = (8, 32, 128, 512, 2048, 8192)
    """Dimensions of the code."""
    particles: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Dual particles (`num_dual_particles`)."""
    samples: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Samples of the bound (`num_dual_samples`)."""
    width: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    """Units of both hidden layers."""
    data: tuple[int, ...] = (60_000, 200_000, 600_000, 2_000_000, 6_000_000)
    """Images of the data set, in a file that is memory-mapped."""
    only: tuple[str, ...] = ()
    """Names of the curves to measure; all by default."""
    seconds: float = 30.0
    """Seconds of each curve; at least `rounds` rounds."""
    rounds: int = 5
    """Rounds at least, after one to warm up."""
    peak_tflops: float | None = None
    """The device's peak, 10^12 operations per second; measured with a large product by default."""
    compile: Literal["replay", "never"] = "replay"
    """How steps are computed, in the words of the main job."""
    scratch: Path | None = None
    """Folder of the memory-mapped file (784 bytes an image); the system's by default."""
    write: bool = False
    """Whether to write the table, the figure and the CSV under `out`."""
    out: Path = ROOT / "docs"
    """Folder of the documentation."""
    smoke: bool = False
    """A run of seconds."""


SMOKE = Config(
    batch=(8, 16, 32),
    code=(4, 8, 16),
    particles=(1, 2, 3),
    samples=(1, 2, 3),
    width=(8, 16, 32),
    data=(100, 200, 300),
    seconds=0.1,
    rounds=1,
    peak_tflops=1.0,
)

BATCH = 100


def trainer(
    images: torch.Tensor,
    way: str = "replay",
    *,
    batch: int = BATCH,
    code: int = 5,
    noise: int = 5,
    width: int = 500,
    elbo: TraceMI_ELBO | None = None,
) -> Loop:
    """Makes the loop of `fit` for the poster's VAE."""
    batch = min(batch, len(images))
    vae = MIVAE(
        code_dim=code,
        noise_dim=noise,
        prior="gaussian",
        encoder=lambda size: MLPEncoder(size, hidden=(width, width)),
        decoder=lambda size: MLPDecoder(size, hidden=(width, width)),
    )
    elbo = elbo or TraceMI_ELBO(channel="mean", codes="c")
    return make_loop(vae, elbo, Batches([images], batch, 0, vae.observe), compile=COMPILE[way])


def sampled(number: int) -> TraceMI_ELBO:
    """Makes the K-sample bound, which needs all latents as code and draws of x'."""
    return TraceMI_ELBO(channel="straight-through", codes="c", num_dual_samples=number)


def particled(number: int) -> TraceMI_ELBO:
    """Makes the mean of several dual passes."""
    return TraceMI_ELBO(channel="mean", codes="c", num_dual_particles=number)


def measure(loops: Sequence[Loop], seconds: float, rounds: int) -> list[list[float]]:
    """Times the steps of loops that take turns; seconds of each."""
    device = loops[0].fabric.device
    order, shuffle = list(range(len(loops))), random.Random(0)
    taken: list[list[float]] = [[] for _ in loops]
    for loop in loops:
        loop.one_step()
        pyro.enable_validation(False)  # as fit does after its first step
    wait_for(device)
    end = time.perf_counter() + seconds
    while len(taken[0]) < rounds + 1 or time.perf_counter() < end:
        shuffle.shuffle(order)
        for i in order:
            started = time.perf_counter()
            loops[i].one_step()
            wait_for(device)
            taken[i].append(time.perf_counter() - started)
            loops[i].terms.unread.clear()
    return [times[1:] for times in taken]


def operations(loop: Loop) -> float:
    """Counts the operations of the matrix products of a step, backward included."""
    with FlopCounterMode(display=False) as counter:
        loop.one_step()
    return float(counter.get_total_flops())


def curve(
    name: str, limit: float, xs: Sequence[int], make: Callable[[int], Loop], config: Config
) -> Curve:
    """Measures one curve; `make` gives the loop of a point."""
    loops = [make(x) for x in xs]
    taken = measure(loops, config.seconds, config.rounds)
    points = [
        Point(x, statistics.median(times), min(times), max(times), len(times), operations(loop))
        for x, times, loop in zip(xs, taken, loops, strict=True)
    ]
    return Curve(name, limit, points)


def write_images(path: Path, count: int) -> None:
    """Writes a file of synthetic images, block by block."""
    block = synthetic_images(min(count, 60_000))
    with path.open("wb") as file:
        for start in range(0, count, len(block)):
            np.roll(block, start % 28, axis=2)[: count - start].tofile(file)


def data_curve(config: Config) -> tuple[Curve, str]:
    """Measures the curve of the data-set size, its memory and the order of an epoch."""
    device, largest = device_here(), max(config.data)
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        path = Path(folder) / "images"
        write_images(path, largest)
        # As fit has it: .to() copies nothing on a CPU.
        mapped = [memory_mapped(str(path), count).to(device) for count in config.data]
        before = anonymous_memory()
        loops = [trainer(images, config.compile) for images in mapped]
        started = time.perf_counter()
        loops[-1].batches.at(0)
        first = time.perf_counter() - started
        result = curve("data", 0, config.data, lambda n: loops[config.data.index(n)], config)
        grown = anonymous_memory() - before
        size = path.stat().st_size / 2**20
        note = (
            f"The file of {largest:,} images has {size:,.0f} MiB; making and training all models "
            f"of this curve took {grown:,.0f} MiB beside its pages. The order of an epoch of "
            f"{-(-largest // BATCH):,} steps and its first batch take {first:.2f} s."
        )
    return result, note


def peak(config: Config, device: torch.device) -> tuple[float, str]:
    """Operations per second that the device can do at most, and whence we know."""
    if config.peak_tflops is not None:
        return 1e12 * config.peak_tflops, "given"
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        a @ a
        wait_for(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best, f"the best of 20 float32 products of {size} x {size} matrices"


def main() -> None:
    """Prints the table, and writes it with --write."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.scaling")
    if config.smoke:
        kept = {
            k: getattr(config, k)
            for k in ("only", "scratch", "write", "out", "smoke", "peak_tflops", "compile")
        }
        config = dataclasses.replace(SMOKE, **kept)
    device = device_here()
    pyro.set_rng_seed(0)
    images = torch.from_numpy(synthetic_images(IMAGES)).to(device)
    make_loops = partial(trainer, images, config.compile)
    chosen: dict[str, tuple[float, Callable[[int], Loop]]] = {
        "batch": (1, lambda n: make_loops(batch=n)),
        "code": (1, lambda n: make_loops(code=n)),
        "particles": (1, lambda n: make_loops(elbo=particled(n))),
        "samples": (1, lambda n: make_loops(code=10, noise=0, elbo=sampled(n))),
        "width": (2, lambda n: make_loops(width=n)),
    }
    top, source = peak(config, device)
    last, note = [], ""
    if not config.only or "data" in config.only:
        # First: memory that other curves left free would hide what this one takes.
        memory_curve, note = data_curve(config)
        last = [memory_curve]
    curves = []
    for name, (limit, make) in chosen.items():
        if not config.only or name in config.only:
            curves.append(curve(name, limit, getattr(config, name), make, config))
    curves += last
    where = f"{describe_machine()}. {versions('torch', 'pyro-ppl')}."
    bound = f"Peak: {top / 1e12:.3g}e12 operations per second, {source}."
    bound = f"Steps by --compile {config.compile}. {bound}"
    text = "\n\n".join([f"{where} {bound}", table(curves, top), note]).strip() + "\n"
    print(text)
    if config.write:
        write_csv(config.out / "results" / "scaling.csv", curves, top, where)
        (config.out / "results" / "scaling.md").write_text(text, encoding="utf-8")
        figure(config.out / "figures" / "scaling.png", curves, where)


if __name__ == "__main__":
    main()
