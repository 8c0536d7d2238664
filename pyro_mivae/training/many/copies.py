"""The copies of a training of many seeds, each made ready as its own training would make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
from lightning_fabric import Fabric
from pyro.params.param_store import StateDict
from torch import Tensor

from pyro_mivae.batches import Batch, Prepare
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.isolation import random_state, restore_random_state
from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.averaging import make_average
from pyro_mivae.training.discovery import find_parameters
from pyro_mivae.training.events import Callback
from pyro_mivae.training.finite import not_finite
from pyro_mivae.training.loop import Loop
from pyro_mivae.training.many.elementwise import check_elementwise
from pyro_mivae.training.objective import Objective, make_game
from pyro_mivae.training.players import MakeOptimizer, MakeScheduler, make_players
from pyro_mivae.training.record import make_record
from pyro_mivae.training.sources import make_source

MakePair = Callable[[int], Any]
"""Makes ``(model, guide, elbo)`` from a seed, which torch's generators were seeded by."""


@dataclass(frozen=True)
class Settings:
    """What all copies have in common.

    Attributes:
        make_pair: Makes model, guide and ELBO of a seed.
        data: Tensors or Dataset of each seed.
        steps: Steps to have done at the end.
        batch_size: Data in a step; None for all.
        drop_last: Whether an epoch leaves out a smaller last batch.
        prepare: Makes the arguments of model and guide from a batch.
        optimizer: Makes a torch optimiser from the parameters of a pair.
        lr_scheduler: Makes a schedule from the optimiser.
        average: Decay of the moving average of the weights, or None.
        log_every: Steps between two readings.
        callbacks: Makes the callbacks of a seed, or None.
        folders: Folder of the checkpoints of each seed; empty for none.
    """

    make_pair: MakePair
    data: dict[int, Any]
    steps: int
    batch_size: int | None
    drop_last: bool
    prepare: Prepare | None
    optimizer: MakeOptimizer | None
    lr_scheduler: MakeScheduler | None
    average: float | None
    log_every: int
    callbacks: Callable[[int], Sequence[Callback]] | None
    folders: dict[int, Path]


@dataclass
class CopyLoop(Loop):
    """The state of the training of one seed among others.

    Attributes:
        seed: Seed of the copy.
        store: Parameters that the copy's runs have put into Pyro's store.
        random: State of torch's generators between two steps.
        error: Reason why the copy was taken out; None while it is not.
        active: Whether the copy is still trained.
    """

    seed: int = 0
    store: StateDict = field(default_factory=lambda: {"params": {}, "constraints": {}})
    random: dict[str, Tensor] = field(default_factory=dict)
    error: NonFiniteError | None = None
    active: bool = True

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Runs a block in which torch's generators and Pyro's store are the copy's."""
        restore_random_state(self.random, self.fabric.device)
        with pyro.get_param_store().scope(self.store):
            yield
        self.random = random_state(self.fabric.device)

    @property
    def elbo(self) -> Any:
        """The copy's ELBO."""
        return self.objective.game.elbo

    def batch(self) -> Batch:
        """Gives the batch of the next step."""
        return self._batch(0)

    def end_step(self) -> None:
        """Moves schedules and averages after the parameters were updated."""
        for player in self.players:
            player.rates.after_step()
        self.step += 1
        self.objective.game.advance()
        if self.average is not None:
            self.average.update()

    def take_terms(self, step: int, terms: dict[str, float]) -> None:
        """Notes the terms of a step, in nats per datum.

        Raises:
            NonFiniteError: If one is NaN or infinite.
        """
        self.terms.take(step, terms)

    def row(self) -> float:
        """Adds a row to the history, tells the callbacks, and returns the loss."""
        with self.in_place():
            return self._log()["loss"]

    def end_epoch(self) -> None:
        """Tells the callbacks if the last step was that of an epoch."""
        if self._ends_epoch():
            with self.in_place():
                self._tell("epoch", {})

    def ended(self) -> bool:
        """Says whether a callback ends the training."""
        return self._ended()

    def checkpoint(self) -> None:
        """Writes a checkpoint, if there is a folder.

        Raises:
            NonFiniteError: If a parameter is not finite.
        """
        with self.in_place():
            self.save()

    def finish(self) -> None:
        """Tells the callbacks of the end, and gives the modules the averages."""
        with self.in_place():
            self._tell("end", {})
        if self.average is not None:
            self.average.apply()

    def stopped(self, error: NonFiniteError) -> NonFiniteError:
        """Makes the error of a copy that is taken out, in the words of a training of its own."""
        return not_finite(str(error), self.folder)


def make_copy(seed: int, settings: Settings, fabric: Fabric) -> CopyLoop:
    """Makes the pair of a seed and what its training needs, as ``fit(seed=seed)`` would.

    Args:
        seed: Seed of the weights, the order of the data and the draws.
        settings: What all copies have in common.
        fabric: Device and precision.

    Raises:
        ValueError: If the pair or the settings can't be trained as one of many.
    """
    pyro.set_rng_seed(seed)
    store = pyro.get_param_store()
    with store.scope() as state:
        model, guide, elbo = _checked_pair(settings.make_pair(seed))
        pyro.set_rng_seed(seed)
        game = make_game(model, guide, elbo)
        objective = Objective(model, guide, game)
        data, size = settings.data[seed], settings.batch_size
        batches = make_source(
            *(data, size, seed, settings.prepare, fabric.device), drop_last=settings.drop_last
        )
        owners, stored = find_parameters(fabric, objective, batches)
        if stored:
            raise ValueError(
                f"the parameters {sorted(stored)} live in Pyro's store, which has one of each name "
                "for all copies: make model and guide modules (torch.nn.Module or PyroModule) that "
                "own them, or train each seed with fit, in a loop"
            )
        players = make_players(
            game, owners, settings.optimizer, settings.lr_scheduler, settings.steps
        )
        for player in players:
            player.optimizer = player.rates.optimizer
            check_elementwise(player.optimizer)
            if player.rates.by_loss:
                raise ValueError(
                    "lr_scheduler: ReduceLROnPlateau goes by the loss, which is another one in "
                    "each copy: use a schedule of the step, or train each seed with fit, in a loop"
                )
            # Schedules ask whether the optimiser was used: the stacked one is.
            player.optimizer._opt_called = True
        callbacks = () if settings.callbacks is None else settings.callbacks(seed)
        loop = CopyLoop(
            *(fabric, objective, None, players, stored, batches),
            *(settings.log_every, callbacks, settings.folders.get(seed)),
            seed=seed,
        )
        loop.average = make_average(settings.average, objective, players[0], stored)
        loop.record = make_record(batches, game, players, loop.average)
        loop.random = random_state(fabric.device)
    loop.store = state
    return loop


def check_distinct(loops: Sequence[CopyLoop]) -> None:
    """Refuses copies that share an ELBO, whose step would move once for each of them.

    Raises:
        ValueError: If two do.
    """
    mine = [loop.elbo for loop in loops if isinstance(loop.elbo, TraceMI_ELBO)]
    if len({id(elbo) for elbo in mine}) < len(mine):
        raise ValueError(
            "make_pair: two seeds share one TraceMI_ELBO, which counts the steps of its schedules: "
            "make a new one in each call"
        )
    lengths = {loop.seed: loop.batches.length for loop in loops}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"data: the copies are trained in step and need equally many data, found {lengths} by "
            "seed: cut them to one length, or train each seed with fit, in a loop"
        )


def _checked_pair(pair: Any) -> tuple[Any, Any, Any]:
    if not isinstance(pair, tuple) or len(pair) != 3:
        kind = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
        raise ValueError(
            f"make_pair: expected a function that returns (model, guide, elbo), found {kind}"
        )
    model, guide, elbo = pair
    if isinstance(elbo, TraceMI_GAN):
        raise ValueError(
            "make_pair: expected an ELBO, found TraceMI_GAN, whose two players take turns: train "
            "each seed with fit, in a loop"
        )
    return model, guide, elbo
