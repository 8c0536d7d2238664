"""The loop behind :func:`pyro_mivae.training.fit`: steps, rows, checkpoints, signals."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pyro_mivae.batches import Batch, BatchSource
from pyro_mivae.isolation import forked_random
from pyro_mivae.progress import Progress
from pyro_mivae.runs.history import History
from pyro_mivae.traces.drawing import NonFiniteError, explain, naming_draws
from pyro_mivae.training.averaging import WeightAverage
from pyro_mivae.training.checkpoints import CheckpointError, save_checkpoint
from pyro_mivae.training.events import Callback, Event
from pyro_mivae.training.finite import not_finite, require_finite
from pyro_mivae.training.matching import by_player, check_optimizer, check_players, check_state
from pyro_mivae.training.objective import Objective
from pyro_mivae.training.parallel import (
    agreed_signal,
    all_states,
    average_gradients,
    restore_own_state,
)
from pyro_mivae.training.players import Player
from pyro_mivae.training.record import check_same_training
from pyro_mivae.training.signals import Interrupted, collected_signals
from pyro_mivae.training.term_log import TermLog


@dataclass
class Loop:
    """The state of a training and its steps.

    Attributes:
        fabric: Device and precision.
        objective: The module itself, for its state.
        wrapped: The same as Fabric set it up, to be called.
        players: The players, with their optimisers.
        stored: Parameters that live in Pyro's store, by name.
        batches: The data.
        log_every: Steps between two rows.
        callbacks: Functions that are told of events; one with a method ``ends`` may end the
            training.
        folder: Folder of the checkpoints, or None.
        step: Steps done.
        history: The rows.
        record: What the checkpoints note of the training.
        average: The moving average of the weights, or None.
        started: Time when it started, had it not been interrupted.
        terms: The terms since the last row.
    """

    fabric: Fabric
    objective: Objective
    wrapped: Any
    players: Sequence[Player]
    stored: dict[str, Tensor]
    batches: BatchSource
    log_every: int
    callbacks: Sequence[Callback]
    folder: Path | None
    step: int = 0
    history: History = field(default_factory=History)
    record: dict[str, Any] = field(default_factory=dict)
    average: WeightAverage | None = None
    started: float = field(default_factory=time.monotonic)
    terms: TermLog = field(init=False)

    def __post_init__(self) -> None:
        self.terms = TermLog(self.fabric, self.objective.game.of_player)

    def run(self, steps: int, checkpoint_every: int, progress: bool) -> None:
        """Trains until `steps` steps are done, or a callback ends the training."""
        hidden = not (progress and self.fabric.is_global_zero)
        bar = Progress("training", steps, "steps", done=self.step, shown=not hidden)
        validation = {k: v for k, v in pyro.settings.get().items() if k.startswith("validate_")}
        ended = self.step > 0 and self._ended()
        self.objective.game.plan(steps - self.step)
        with bar, collected_signals(active=self.folder is not None) as received:
            with pyro.settings.context(**validation):
                while self.step < steps and not ended:
                    self.one_step()
                    # Checking every distribution costs a tenth of a step, and waits
                    # for a GPU: the first step stands for the others.
                    pyro.enable_validation(False)
                    bar.update()
                    self.objective.game.choose(steps - self.step, self.fabric.broadcast)
                    reading = self.step % self.log_every == 0 or self.step == steps
                    if reading:
                        bar.note(self.objective.game.short(self._log()))
                    if self._ends_epoch():
                        self._tell("epoch", {})
                    stop = agreed_signal(self.fabric, received, now=reading)
                    ended = reading and self._ended()
                    due = self.step % checkpoint_every == 0 or self.step == steps
                    if stop or ended or due:
                        self.save()
                    if stop and self.folder is not None and not ended:
                        raise Interrupted(self.step, self.folder, stop)
            self._tell("end", {})
            stop = agreed_signal(self.fabric, received, now=True)
            if stop and self.folder is not None:
                raise Interrupted(self.step, self.folder, stop)
        if self.average is not None:
            self.average.apply()

    def _ended(self) -> bool:
        """Whether a callback such as ``EarlyStopping`` ends the training; all ranks agree."""
        if not self.callbacks:
            return False
        ended = False
        if self.fabric.is_global_zero:
            ended = any(c.ends(self.history) for c in self.callbacks if hasattr(c, "ends"))
        return bool(self.fabric.broadcast(ended))

    def save(self) -> None:
        """Writes a checkpoint, if there is a folder, after a check that all terms are finite."""
        self._read()
        if self.folder is None:
            return
        if self.batches.steps_per_epoch is not None:
            self.record["steps_per_epoch"] = self.batches.steps_per_epoch
        self.record |= self.objective.game.note()
        named = [*self.objective.named_parameters(), *self.stored.items()]
        require_finite(named, self.step, self.folder)
        state = {
            "objective": self.objective.state_dict(),
            "stored": {name: value.detach() for name, value in self.stored.items()},
            "players": [player.name for player in self.players],
            "optimizer": {p.name: p.optimizer.state_dict() for p in self.players},
            "schedule": {p.name: p.rates.state_dict() for p in self.players},
            "average": self.average.state_dict() if self.average else {},
            "elbo": self.objective.game.state_dict(),
            "random": all_states(self.fabric),
            "step": self.step,
            "history": self.history.rows,
            "pending": self.terms.pending,
            "record": self.record,
            "seconds": time.monotonic() - self.started,
        }
        save_checkpoint(self.fabric, self.folder, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where :meth:`save` was.

        Raises:
            CheckpointError: If `state` is of another one; nothing is changed then.
        """
        self.check_same_pair(state)
        optimizers, schedules = (by_player(state, name) for name in ("optimizer", "schedule"))
        for player in self.players:
            check_optimizer(optimizers.get(player.name), player.optimizer.state_dict())
        check_same_training(state.get("record", {}), self.record)
        for player in self.players:
            player.rates.check(schedules.get(player.name, {}))
        try:
            self._take(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint can't be taken by this training ({error}): expected one that fit "
                "wrote for this model, guide, ELBO and optimiser"
            ) from error

    def check_same_pair(self, state: dict[str, Any]) -> None:
        """Raises a :class:`CheckpointError` unless a checkpoint is of this model and guide."""
        check_players(state, [player.name for player in self.players])
        check_state("model and guide", state["objective"], self.objective.state_dict())
        check_state("Pyro's store", state["stored"], self.stored)

    def _take(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        with torch.no_grad():
            for name, value in state["stored"].items():
                self.stored[name].copy_(value)
        optimizers, schedules = (by_player(state, name) for name in ("optimizer", "schedule"))
        for player in self.players:
            player.optimizer.load_state_dict(optimizers[player.name])
            player.rates.load_state_dict(schedules.get(player.name, {}))
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.objective.game.load_state_dict(state["elbo"])
        self.step = state["step"]
        self.started -= state.get("seconds", 0.0)
        self.objective.game.resume(self.step, state.get("record", {}))
        if self.batches.steps_per_epoch is None:
            self.batches.steps_per_epoch = state["record"].get("steps_per_epoch")
        restore_own_state(self.fabric, state["random"], self.batches.seed, self.step)
        self.history = History(state["history"])
        self.terms.pending = [(step, dict(terms)) for step, terms in state["pending"]]

    def one_step(self) -> None:
        """Trains on a batch: forward, backward, update for each turn; terms stay on the device."""
        game = self.objective.game
        terms: list[dict[str, Tensor]] = []
        batch, number = self._batch(0), 0
        for index, turn in enumerate(game.turns):
            if turn.batch != number:
                batch, number = self._batch(turn.batch), turn.batch
            player = next(player for player in self.players if player.name == turn.player)
            terms.append(self._turn(index, player, batch))
        for player in self.players:
            player.rates.after_step()
        self.step += 1
        game.advance()
        if self.average is not None:
            self.average.update()
        self.terms.unread.append((self.step, game.merged(terms), game.divisor(batch.count)))

    def _turn(self, index: int, player: Player, batch: Batch) -> dict[str, Tensor]:
        """Updates the parameters of a player, and returns the terms."""
        game = self.objective.game
        with self.fabric.no_backward_sync(self.wrapped, enabled=game.alone):
            try:
                terms: dict[str, Tensor]
                terms, loss = self.wrapped(index, batch.count, *batch.args, **batch.kwargs)
            except (ArithmeticError, ValueError, RuntimeError) as error:
                self._read()  # an earlier step may have had the first term that is not finite
                if reason := explain(error):
                    turn = f", {player.name}'s turn" if len(self.players) > 1 else ""
                    words = f"step {self.step + 1}{turn}: {reason}"
                    raise not_finite(words, self.folder) from error
                raise
            if not loss.requires_grad:
                of = "model or guide" if len(self.players) == 1 else f"the {player.name}"
                raise ValueError(f"the loss depends on no parameter of {of}")
            self.fabric.backward(loss)
        if game.alone:
            average_gradients(self.fabric, player.parameters)
        player.optimizer.step()
        player.optimizer.zero_grad(set_to_none=True)
        return terms

    def _batch(self, number: int) -> Batch:
        """One of the batches of the step that comes next."""
        return self.batches.at(self.step * self.objective.game.batches_per_step + number)

    def _read(self) -> None:
        try:
            self.terms.read()
        except NonFiniteError as error:
            raise not_finite(str(error), self.folder) from None

    def _log(self) -> dict[str, float]:
        self._read()
        # A row that ends between two readings is a part of the row that a longer run has.
        part = self.step % self.log_every != 0
        means, game = self.terms.means(keep=part), self.objective.game
        if not part:
            for player in self.players:
                player.rates.after_reading(means[game.loss_name(player.name)])
        self.history.add(self.step, self._epoch(), "train", means)
        if self.fabric.is_global_zero:
            # A reading that a longer training has not must draw nothing that it draws.
            apart = forked_random(self.fabric.device) if part else nullcontext()
            with naming_draws(f"after step {self.step}"), apart:
                self.objective.watch(self.step, means, self.batches.at(self._batches_read() - 1))
        self._tell("log", means)
        return means

    def _batches_read(self) -> int:
        return self.step * self.objective.game.batches_per_step

    def _epoch(self) -> float:
        """Epochs done; 0 while their length is not known."""
        return self._batches_read() / (self.batches.steps_per_epoch or math.inf)

    def _ends_epoch(self) -> bool:
        """Whether the last batch of an epoch was read in the last step."""
        per = self.batches.steps_per_epoch
        before = self._batches_read() - self.objective.game.batches_per_step
        return per is not None and self._batches_read() // per > before // per

    def _tell(self, kind: str, terms: Mapping[str, float]) -> None:
        if not self.fabric.is_global_zero:
            return
        rates = {player.name: player.rates.first for player in self.players}
        event = Event(
            *(kind, self.step, self._epoch(), terms, self.history, rates["model"], rates),
            averaged=nullcontext if self.average is None else self.average.applied,
        )
        for callback in self.callbacks:
            callback(event)
