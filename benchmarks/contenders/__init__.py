"""The contenders of `benchmarks.peers`: one VAE, trained by several libraries.

The same networks, weights, data, batch and optimiser (Adam, fused where it is torch's) for all.
This file needs NumPy only and makes weights and data; each contender is in a file of its own and
imports its library only, so that a process that runs one measures that one. A contender has
``step()``, an update on a batch that is already on the device and binarised, which gives the loss
per datum; ``epoch()``, a pass over all images as that library's users load them; and ``wait()``,
which returns when the device has done its work. `images` are uint8, ``(N, 28, 28)``.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

Array = np.ndarray
CODE, NOISE = 5, 5
"""Dimensions of the code and of the noise, as in the poster. The plain VAE has one site of 10."""
LATENT = CODE + NOISE
PIXELS, HIDDEN = 784, 500
SCALE_FLOOR = 1e-4
SCALE_SHIFT = float(np.log(np.expm1(1 - SCALE_FLOOR)))
"""The scale of q is softplus(raw + SCALE_SHIFT) + SCALE_FLOOR, 1 at raw 0, as the library's."""
TASKS = ("VAE", "MI-VAE")
"""Without the information term, and with it (lambda 1, x' the decoder's mean)."""


class Contender(Protocol):
    """One library's training of the VAE."""

    def step(self) -> Any:
        """Makes one update on the next batch in memory; returns the loss per datum."""

    def epoch(self, limit: int | None = None) -> None:
        """Passes once over all images, loading included, or over `limit` batches to warm up."""

    def wait(self) -> None:
        """Returns when the device is done."""


@dataclass(frozen=True)
class Problem:
    """A training task: the loss, the images and the batches.

    Attributes:
        mi: Whether with the information term.
        images: uint8 ``(N, 28, 28)``.
        batch_size: Images in a step; a divisor of N.
        learning_rate: Learning rate of Adam.
    """

    mi: bool
    images: Array
    batch_size: int
    learning_rate: float = 1e-3

    def batches(self, count: int = 4) -> list[Array]:
        """Makes binarised float batches ``(batch_size, 28, 28)`` for :meth:`Contender.step`."""
        rng = np.random.default_rng(2)
        count = min(count, len(self.images) // self.batch_size)
        parts = np.split(self.images[: count * self.batch_size], count)
        return [(rng.random(p.shape) < p / 255).astype(np.float32) for p in parts]


Layers = list[tuple[Array, Array]]


def weights(seed: int = 0) -> Layers:
    """Makes (W, b) of the encoder's three layers and of the decoder's, W as torch's: (out, in)."""
    rng = np.random.default_rng(seed)
    sizes = [PIXELS, HIDDEN, HIDDEN, 2 * LATENT], [LATENT, HIDDEN, HIDDEN, PIXELS]
    layers = []
    for chain in sizes:
        for i, o in itertools.pairwise(chain):
            bound = (6 / (i + o)) ** 0.5
            drawn = rng.uniform(-bound, bound, (o, i)).astype(np.float32)
            layers.append((drawn, np.zeros(o, np.float32)))
    return layers


def synthetic_images(count: int, seed: int = 1) -> Array:
    """Makes uint8 images ``(count, 28, 28)``: soft blobs, mostly paper, as digits are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    kinds = min(count, 1000)
    centre = rng.uniform(9, 19, (2, kinds, 1, 1))
    width = rng.uniform(2, 5, (kinds, 1, 1))
    distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    blobs = (255 * np.exp(-distance / (2 * width**2))).astype(np.uint8)
    return np.resize(blobs, (count, 28, 28))


@dataclass(frozen=True)
class Entry:
    """How to make a contender.

    Attributes:
        module: File in this folder; it has ``make(problem, **options)``.
        packages: What it needs beside this library's own dependencies.
        options: Keywords of ``make``.
        only_vae: Why it has no row for the MI-VAE; empty if it has one.
    """

    module: str
    packages: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    only_vae: str = ""


HAND_WRITTEN = "hand-written PyTorch"
ENTRIES = {
    HAND_WRITTEN: Entry("by_hand"),
    "pyro_mivae": Entry("library"),
    "pyro_mivae, replayed": Entry("library", options=(("compile", "replay"),)),
    "pyro_mivae, compiled": Entry("library", options=(("compile", True),)),
    "pyro_mivae, compiled, bf16": Entry(
        "library", options=(("compile", True), ("precision", "bf16-mixed"))
    ),
    "Pyro, SVI + Trace_ELBO": Entry("pyro_svi"),
    "Pyro, SVI + JitTrace_ELBO": Entry("pyro_svi", options=(("jit", True),)),
    "NumPyro, jitted SVI": Entry("numpyro_svi", packages=("jax", "numpyro")),
    "pythae, BaseTrainer": Entry(
        "pythae_trainer",
        packages=("pythae",),
        only_vae="has no such objective: a subclass would be the hand-written one",
    ),
}
"""All of them, in the order of the table."""


def missing(name: str, task: str) -> str:
    """Says why a contender can't run here; empty if it can."""
    entry = ENTRIES[name]
    if task == "MI-VAE" and entry.only_vae:
        return entry.only_vae
    absent = [package for package in entry.packages if find_spec(package) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (pip install {' '.join(absent)})"
    return ""


def make(name: str, problem: Problem) -> Contender:
    """Makes a contender, ready for its first step."""
    entry = ENTRIES[name]
    factory: Callable[..., Contender] = import_module(f"benchmarks.contenders.{entry.module}").make
    if torch := sys.modules.get("torch"):  # as fit does for this library, see pyro_mivae.page_in
        torch.full((64,), -0.0).log1p()
    return factory(problem, **dict(entry.options))


def cycle(parts: Sequence[Any]) -> Callable[[], Any]:
    """Makes a function that returns the next of `parts`, for ever."""
    position = -1

    def following() -> Any:
        nonlocal position
        position = (position + 1) % len(parts)
        return parts[position]

    return following
