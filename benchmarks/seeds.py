"""Seconds of a training for each seed: `fit_many` for K seeds against `fit` for one after another.

The same pairs, data, batches and optimiser. All sides take turns, in an order drawn anew for each
round. A training by `fit`, eager or compiled, is timed once, as K of them take K times as long.
Compilation, which each process pays once, is not part of a step and has a column of its own.

    python -m benchmarks.seeds --write
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch
import tyro

from benchmarks.contenders import synthetic_images
from benchmarks.contenders.by_hand import device_here, wait_for
from benchmarks.contenders.library import make_loop
from benchmarks.machine import describe_machine, versions
from benchmarks.seeds_report import Row, figure, table, write_csv
from pyro_mivae.batches import Batches
from pyro_mivae.infer import Channel, TraceMI_ELBO
from pyro_mivae.training import adam, make_fabric
from pyro_mivae.training.many.copies import Settings, make_copy
from pyro_mivae.training.many.loop import stack_copies
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.likelihoods import Grey
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

ROOT = Path(__file__).parents[1]
UNREAD = 100
"""Steps between two readings, as in `fit`."""


@dataclass(frozen=True)
class Config:
    """The trainings to time."""

    seeds: tuple[int, ...] = (1, 5, 10, 20)
    """Numbers of seeds that are trained as one."""
    widths: tuple[int, ...] = (256, 500)
    """Units of both hidden layers: 256 in the studies, 500 in the poster."""
    channel: Channel = "mean"
    """How x' is generated."""
    batch_size: int = 100
    """Images in a step of a seed."""
    steps: int = 5_500
    """Steps of the training whose time is given."""
    seconds: float = 120.0
    """Seconds of the rounds of each width; at least `rounds` rounds."""
    rounds: int = 5
    """Rounds at least, after one to warm up."""
    compile: bool = True
    """Whether to time both sides compiled, too."""
    images: int = 20_000
    """Synthetic images."""
    write: bool = False
    """Whether to write the table, the figure and the CSV under `out`."""
    out: Path = ROOT / "docs"
    """Folder of the documentation."""
    smoke: bool = False
    """A run of seconds."""


SMOKE = Config(seeds=(1, 2), widths=(8,), batch_size=8, steps=10, seconds=0.1, rounds=1, images=16)


@dataclass
class Side:
    """One way to train.

    Attributes:
        name: Name of the way.
        seeds: Seeds that a step trains; 1 for `fit`, which stands for any number.
        step: Makes one step of all of them.
        first: Seconds of the preparation and the first step, compilation included.
    """

    name: str
    seeds: int
    step: Callable[[], None]
    first: float


def make_pair(seed: int, width: int, channel: Channel) -> tuple[Any, Any, TraceMI_ELBO]:
    """Makes the pair of a seed."""
    vae = MIVAE(
        prior="gaussian",
        likelihood="grey",
        encoder=lambda size: MLPEncoder(size, hidden=(width, width)),
        decoder=lambda size: MLPDecoder(size, hidden=(width, width)),
    )
    return vae.model, vae.guide, TraceMI_ELBO(channel=channel, codes="c")


def one(width: int, config: Config, images: torch.Tensor, compiled: bool) -> Callable[[], None]:
    """Makes the step of `fit` for one seed."""
    pyro.set_rng_seed(0)
    model, guide, elbo = make_pair(0, width, config.channel)
    batches = Batches([images], config.batch_size, 0, Grey().observe)
    pair: Any = _Pair(model, guide)
    loop = make_loop(pair, elbo, batches, device=images.device.type, compile=compiled)

    def step() -> None:
        loop.one_step()
        if len(loop.terms.unread) == UNREAD:
            loop.terms.read()

    return step


def many(
    seeds: int, width: int, config: Config, images: torch.Tensor, compiled: bool
) -> Callable[[], None]:
    """Makes the step of `fit_many`."""
    numbers = range(seeds)
    settings = Settings(
        make_pair=partial(make_pair, width=width, channel=config.channel),
        data=dict.fromkeys(numbers, images),
        steps=config.steps,
        batch_size=config.batch_size,
        drop_last=False,
        prepare=Grey().observe,
        optimizer=adam,
        lr_scheduler=None,
        average=None,
        log_every=UNREAD,
        callbacks=None,
        folders={},
    )
    fabric = make_fabric(images.device.type)
    training = stack_copies([make_copy(s, settings, fabric) for s in numbers], adam, compiled)

    def step() -> None:
        training.one_step()
        if len(training.unread) == UNREAD:
            training.read()

    return step


@dataclass(frozen=True)
class _Pair:
    model: Any
    guide: Any


def make_sides(width: int, config: Config, images: torch.Tensor) -> list[Side]:
    """Makes the steps of all sides, each called once."""
    sides = []
    for compiled in (False, True) if config.compile else (False,):
        word = ", compiled" if compiled else ""
        makers: list[tuple[str, int, Callable[[], Callable[[], None]]]] = [
            (f"fit{word}", 1, partial(one, width, config, images, compiled))
        ]
        makers += [
            (f"fit_many{word}", seeds, partial(many, seeds, width, config, images, compiled))
            for seeds in config.seeds
        ]
        for name, seeds, make in makers:
            started = time.perf_counter()
            step = make()
            step()
            pyro.enable_validation(False)  # as fit does after its first step
            wait_for(images.device)
            sides.append(Side(name, seeds, step, time.perf_counter() - started))
    return sides


def measure(width: int, config: Config, images: torch.Tensor) -> list[Row]:
    """Times the steps of all sides in turns."""
    sides = make_sides(width, config, images)
    order, shuffle = list(range(len(sides))), random.Random(0)
    taken: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + config.seconds
    while len(taken[0]) < config.rounds + 1 or time.perf_counter() < end:
        shuffle.shuffle(order)
        for i in order:
            started = time.perf_counter()
            sides[i].step()
            wait_for(images.device)
            taken[i].append((time.perf_counter() - started) / sides[i].seeds)
    reference = taken[0][1:]
    rows = []
    for side, times in zip(sides, (own[1:] for own in taken), strict=True):
        ratios = [a / b for a, b in zip(times, reference, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
        seconds = config.steps * statistics.median(times)
        ratio = statistics.median(ratios)
        rows.append(Row(width, side.name, side.seeds, seconds, ratio, low, high, side.first))
    return rows


def main() -> None:
    """Prints the table, and writes it with --write."""
    config = tyro.cli(Config, description=__doc__, prog="python -m benchmarks.seeds")
    if config.smoke:
        kept = {k: getattr(config, k) for k in ("write", "out", "smoke", "compile")}
        config = dataclasses.replace(SMOKE, **kept)
    pyro.settings.set(module_local_params=True)  # as fit does
    device = device_here()
    images = torch.from_numpy(synthetic_images(config.images)).to(device)
    rows = [row for width in config.widths for row in measure(width, config, images)]
    where = f"{describe_machine()}. {versions('torch', 'pyro-ppl')}."
    text = table(rows, where, config.steps)
    print(text)
    if config.write:
        write_csv(config.out / "results" / "seeds.csv", rows, where)
        (config.out / "results" / "seeds.md").write_text(text, encoding="utf-8")
        figure(config.out / "figures" / "seeds.png", rows, where, config.steps)


if __name__ == "__main__":
    main()
