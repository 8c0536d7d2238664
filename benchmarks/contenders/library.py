"""This library: the loop of `fit`, eager or compiled."""

from __future__ import annotations

import mmap
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from benchmarks.contenders import (
    CODE,
    LATENT,
    NOISE,
    Layers,
    Problem,
    cycle,
    weights,
)
from benchmarks.contenders.by_hand import load, wait_for
from pyro_mivae.batches import Batch, Batches
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import make_fabric
from pyro_mivae.training.loop import Loop
from pyro_mivae.training.objective import Objective, make_game
from pyro_mivae.training.players import make_players
from pyro_mivae.training.steps import Compile
from pyro_mivae.vae import MIVAE


def make_loop(
    vae: MIVAE,
    elbo: Any,
    batches: Any,
    *,
    device: str = "auto",
    compile: Compile = False,  # noqa: A002
    precision: str = "32-true",
    learning_rate: float = 1e-3,
    log_every: int = 10**9,
) -> Loop:
    """Makes the loop of :func:`pyro_mivae.training.fit`, with its settings of Pyro.

    The keywords, of which there are more than elsewhere, are those of `fit` by name and default.
    """
    pyro.settings.set(module_local_params=True)
    fabric = make_fabric(device, precision)
    game = make_game(vae.model, vae.guide, elbo, compile)
    objective = Objective(vae.model, vae.guide, game)
    owners = game.owners(Batch((), {}, 1), list(objective.parameters()))
    make_optimizer = partial(torch.optim.Adam, lr=learning_rate, fused=True)  # 0 in a test
    players = make_players(game, owners, make_optimizer, None, steps=0)
    wrapped, players[0].optimizer = fabric.setup(objective, players[0].rates.optimizer)
    return Loop(fabric, objective, wrapped, players, {}, batches, log_every, [], None)


class FixedBatches:
    """Batches that are there already, in the place of :class:`Batches`."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.next, self.steps_per_epoch = cycle(parts), len(parts)

    def at(self, step: int) -> Batch:
        """Gives the next batch."""
        x = self.next()
        return Batch((x,), {}, len(x))


def by_site(layers: Layers) -> Layers:
    """Sorts the encoder's last layer as MIVAE does: (loc, raw) of c, then (loc, raw) of z."""
    loc, raw = np.arange(LATENT), LATENT + np.arange(LATENT)
    order = np.concatenate([loc[:CODE], raw[:CODE], loc[CODE:], raw[CODE:]])
    (weight, bias) = layers[2]
    return [*layers[:2], (weight[order], bias[order]), *layers[3:]]


class Library:
    """:class:`Loop`, with the terms read every 100 steps as `fit` does."""

    def __init__(self, problem: Problem, compile: Compile, precision: str) -> None:  # noqa: A002
        pyro.set_rng_seed(0)
        layers = weights()
        if problem.mi:
            self.vae = MIVAE(code_dim=CODE, noise_dim=NOISE, prior="gaussian")
            self.elbo: Any = TraceMI_ELBO(channel="mean", codes="c")
            layers = by_site(layers)
        else:
            self.vae = MIVAE(code_dim=LATENT, noise_dim=0, prior="gaussian")
            self.elbo = TraceMeanField_ELBO()
        load(self.vae.guide, layers[:3])
        load(self.vae.model, layers[3:])
        self.device = make_fabric().device
        images = torch.from_numpy(np.ascontiguousarray(problem.images)).to(self.device)
        self.fixed = FixedBatches([torch.from_numpy(p).to(self.device) for p in problem.batches()])
        self.batches = Batches([images], problem.batch_size, 0, self.vae.observe)
        self.epochs = 0
        self.loop = make_loop(
            self.vae,
            self.elbo,
            self.fixed,
            compile=compile,
            precision=precision,
            learning_rate=problem.learning_rate,
            log_every=100,
        )

    def step(self) -> Tensor:
        """Makes one update on a batch in memory."""
        self.loop.one_step()
        pyro.enable_validation(False)  # as fit does after its first step
        _, terms, count = self.loop.terms.unread.pop()
        return terms["loss"] / count

    def epoch(self, limit: int | None = None) -> None:
        """Passes over all images as `fit` does."""
        loop, number = self.loop, self.batches.steps_per_epoch or 1
        before, loop.batches = loop.step, self.batches
        loop.step = self.epochs * number  # whole epochs, each in an order of its own
        loop.run(loop.step + min(number, limit or number), 10**9, False)
        self.epochs += 1
        loop.step, loop.batches = before, self.fixed  # type: ignore[assignment]
        pyro.enable_validation(False)

    def wait(self) -> None:
        """Waits for the device."""
        wait_for(self.device)


def make(problem: Problem, compile: Compile = False, precision: str = "32-true") -> Library:  # noqa: A002
    """Makes the contender."""
    return Library(problem, compile, precision)


def memory_mapped(path: str, count: int) -> Tensor:
    """Opens uint8 images ``(count, 28, 28)`` of a file, which are read when they are indexed."""
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), count * 28 * 28)
    # Or the system reads ahead at each image, up to megabytes that are not wanted.
    mapped.madvise(mmap.MADV_RANDOM)
    return torch.from_numpy(np.frombuffer(mapped, np.uint8).reshape(count, 28, 28))
