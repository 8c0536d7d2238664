"""Median time of a training step of the library over a hand-written PyTorch loop.

Same networks, loss, optimiser and data; the two sides alternate in one run, since the
machines are noisy. The hand-written side is what a good PyTorch user would write for the
Gaussian MI-VAE with the poster's channel (x' is the decoder's mean).

    python -m benchmarks.step_time --batch-sizes 100 1000
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_mivae.batches import Batches
from pyro_mivae.history import History
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.loop import Loop
from pyro_mivae.objective import Objective
from pyro_mivae.training import adam, make_fabric
from pyro_mivae.vae import MIVAE

LATENT = 10
"""5 code and 5 noise dimensions, as in the poster."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    batch_sizes: tuple[int, ...] = (100, 1000)
    """Batch sizes."""
    steps: int = 200
    """Timed steps of each side at the smallest batch size; fewer at larger ones."""
    smoke: bool = False
    """A run of seconds."""


class HandWritten(nn.Module):
    """The same VAE in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 500),
            nn.Softplus(),
            nn.Linear(500, 500),
            nn.Softplus(),
            nn.Linear(500, 2 * LATENT),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 500),
            nn.Softplus(),
            nn.Linear(500, 500),
            nn.Softplus(),
            nn.Linear(500, 784),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z|x)."""
        loc, raw = self.encoder(x).chunk(2, -1)
        return loc, F.softplus(raw) + 1e-4

    def forward(self, x: Tensor) -> Tensor:
        """The loss per datum: -log-likelihood + KL - MI of the first half of the code."""
        loc, scale = self.encode(x)
        z = loc + scale * torch.randn_like(scale)
        logits = self.decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        kl = 0.5 * (loc**2 + scale**2 - 2 * scale.log() - 1).sum()
        prior = torch.randn_like(z)
        loc, scale = self.encode(torch.sigmoid(self.decoder(prior)))
        code = prior[:, : LATENT // 2]
        loc, scale = loc[:, : LATENT // 2], scale[:, : LATENT // 2]
        mi = (0.5 * code**2 - 0.5 * ((code - loc) / scale) ** 2 - scale.log()).sum()
        return (reconstruction + kl - mi) / len(x)


def hand_written_step(images: Tensor, batch_size: int) -> Callable[[], None]:
    """A step of the hand-written loop."""
    module = HandWritten().to(images.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(images), device=images.device)
    position = 0

    def step() -> None:
        nonlocal position
        index = order[position : position + batch_size]
        position = (position + batch_size) % (len(images) - batch_size)
        loss = module(torch.bernoulli(images[index] / 255.0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def library_step(
    images: Tensor, batch_size: int, compiled: bool = False, precision: str = "32-true"
) -> Callable[[], None]:
    """A step of :func:`pyro_mivae.training.fit`."""
    vae = MIVAE(prior="gaussian")
    fabric = make_fabric(images.device.type, precision)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    objective = Objective(vae.model, vae.guide, elbo, compiled)
    optimizer = adam(list(objective.parameters()))
    wrapped, wrapped_optimizer = fabric.setup(objective, optimizer)
    batches = Batches([images], batch_size, 0, vae.observe)
    loop = Loop(
        fabric, objective, wrapped, wrapped_optimizer, {}, batches, 10**9, [], None, 0, History()
    )
    return loop.one_step


def sides(images: Tensor, batch_size: int) -> dict[str, Callable[[], None]]:
    """What is timed, by name; the first is what the others are compared with."""
    return {
        "hand-written": hand_written_step(images, batch_size),
        "eager": library_step(images, batch_size),
        "compiled": library_step(images, batch_size, compiled=True),
        "eager, bf16": library_step(images, batch_size, precision="bf16-mixed"),
        "compiled, bf16": library_step(images, batch_size, True, "bf16-mixed"),
    }


def compare(batch_size: int, steps: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each side's step, and the median of its ratios to the first side's."""
    device = make_fabric().device
    images = torch.randint(0, 256, (20_000, 28, 28), dtype=torch.uint8, device=device)
    timed = sides(images, batch_size)
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
    smallest = min(config.batch_sizes)
    print("batch  side            median      ratio (median of pairs)")
    for batch_size in config.batch_sizes:
        steps = 2 if config.smoke else max(20, config.steps * smallest // batch_size)
        for name, (seconds, ratio) in compare(batch_size, steps).items():
            print(f"{batch_size:5d}  {name:14s}  {1e3 * seconds:6.2f} ms  {ratio:.3f}")


if __name__ == "__main__":
    main()
