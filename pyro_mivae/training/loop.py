"""The loop behind :func:`pyro_mivae.training.fit`: steps, readings, checkpoints, signals."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from pyro_mivae.batches import Batches
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.runs.history import History, by_channel
from pyro_mivae.traces.drawing import NonFiniteError as NonFiniteError
from pyro_mivae.traces.drawing import explain
from pyro_mivae.training.checkpoints import CheckpointError, save_checkpoint
from pyro_mivae.training.matching import check_optimizer, check_state
from pyro_mivae.training.objective import Objective
from pyro_mivae.training.parallel import (
    agreed_signal,
    all_states,
    mean_over_ranks,
    restore_own_state,
)
from pyro_mivae.training.record import check_same_training
from pyro_mivae.training.signals import collected_signals

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What a callback is told.

    Attributes:
        kind: ``"log"`` after terms were read, ``"epoch"`` at the end of an epoch,
            ``"end"`` after the last step.
        step: Steps done.
        epoch: Epochs done, with fractions.
        terms: The row just read, in nats per datum (empty but for ``"log"``).
        history: All rows; a callback may add its own.
    """

    kind: str
    step: int
    epoch: float
    terms: Mapping[str, float]
    history: History


Callback = Callable[[Event], None]


class Interrupted(Exception):  # noqa: N818 -- an event, not an error
    """SIGINT or SIGTERM stopped the training after a checkpoint was written.

    Attributes:
        step: Steps done.
        folder: The checkpoint's folder.
        signal: The signal's number.
    """

    def __init__(self, step: int, folder: Path, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.step = step
        self.folder = folder
        self.signal = number


@dataclass
class Loop:
    """The state of a training and its steps.

    Attributes:
        fabric: Device and precision.
        objective: The module itself, for its state.
        wrapped: The same as Fabric set it up, to be called.
        optimizer: The optimiser as Fabric set it up.
        stored: Parameters that live in Pyro's store, by name.
        batches: The data.
        record: What the checkpoints note of the training.
    """

    fabric: Fabric
    objective: Objective
    wrapped: Any
    optimizer: Any
    stored: dict[str, Tensor]
    batches: Batches
    log_every: int
    callbacks: Sequence[Callback]
    folder: Path | None
    step: int = 0
    history: History = field(default_factory=History)
    record: dict[str, Any] = field(default_factory=dict)
    # Readings since the last row: (step, terms per datum); on the device until read.
    _pending: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    _unread: list[tuple[int, dict[str, Tensor], float]] = field(default_factory=list)

    def run(self, steps: int, checkpoint_every: int, progress: bool) -> None:
        """Trains until `steps` steps are done."""
        hidden = not (progress and self.fabric.is_global_zero)
        bar = tqdm(total=steps, initial=self.step, unit="step", disable=hidden or None)
        validation = pyro.settings.get()
        with bar, collected_signals(active=self.folder is not None) as received:
            try:
                while self.step < steps:
                    self.one_step()
                    # Checking every distribution costs a tenth of a step, and waits
                    # for a GPU: the first step stands for the others.
                    pyro.enable_validation(False)
                    bar.update()
                    reading = self.step % self.log_every == 0 or self.step == steps
                    if reading:
                        bar.set_postfix_str(_short(self._log()))
                    if self.step % self.batches.steps_per_epoch == 0:
                        self._tell("epoch", {})
                    stop = agreed_signal(self.fabric, received, now=reading)
                    if stop or self.step % checkpoint_every == 0 or self.step == steps:
                        self.save()
                    if stop and self.folder is not None:
                        raise Interrupted(self.step, self.folder, stop)
            finally:
                pyro.settings.set(
                    **{k: v for k, v in validation.items() if k.startswith("validate_")}
                )
            self._tell("end", {})
            stop = agreed_signal(self.fabric, received, now=True)
            if stop and self.folder is not None:
                raise Interrupted(self.step, self.folder, stop)

    def save(self) -> None:
        """Writes a checkpoint, if there is a folder, after a check that all terms are finite."""
        self._read()
        if self.folder is None:
            return
        self._check_parameters()
        state = {
            "objective": self.objective.state_dict(),
            "stored": {name: value.detach() for name, value in self.stored.items()},
            "optimizer": self.optimizer.state_dict(),
            "elbo": self._elbo_state(),
            "random": all_states(self.fabric),
            "step": self.step,
            "history": self.history.rows,
            "pending": self._pending,
            "record": self.record,
        }
        save_checkpoint(self.fabric, self.folder, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where :meth:`save` was.

        Raises:
            CheckpointError: If `state` is of another one; nothing is changed then.
        """
        self.check_same_pair(state)
        check_optimizer(state["optimizer"], self.optimizer.state_dict())
        check_same_training(state.get("record", {}), self.record)
        try:
            self._take(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint can't be taken by this training ({error}): expected one that fit "
                "wrote for this model, guide, ELBO and optimiser"
            ) from error

    def check_same_pair(self, state: dict[str, Any]) -> None:
        """Raises a :class:`CheckpointError` unless a checkpoint is of this model and guide."""
        check_state("model and guide", state["objective"], self.objective.state_dict())
        check_state("Pyro's store", state["stored"], self.stored)

    def _take(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        with torch.no_grad():
            for name, value in state["stored"].items():
                self.stored[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.objective.elbo, TraceMI_ELBO):
            self.objective.elbo.load_state_dict(state["elbo"])
        self.step = state["step"]
        restore_own_state(self.fabric, state["random"], self.batches.seed, self.step)
        self.history = History(state["history"])
        self._pending = [(step, dict(terms)) for step, terms in state["pending"]]

    def _elbo_state(self) -> dict[str, int]:
        elbo = self.objective.elbo
        return elbo.state_dict() if isinstance(elbo, TraceMI_ELBO) else {}

    def one_step(self) -> None:
        """Trains on one batch: forward, backward, update; the terms stay on the device."""
        args, count = self.batches(self.step)
        try:
            terms, loss = self.wrapped(count, *args)
        except (ArithmeticError, ValueError, RuntimeError) as error:
            self._read()  # an earlier step may have had the first term that is not finite
            if reason := explain(error):
                raise NonFiniteError(self._stopped(f"step {self.step + 1}: {reason}")) from error
            raise
        if not loss.requires_grad:
            raise ValueError("the loss depends on no parameter of model or guide")
        self.fabric.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if isinstance(self.objective.elbo, TraceMI_ELBO):
            self.objective.elbo.step += 1
        self._unread.append((self.step, terms, count))

    def _read(self) -> None:
        """Brings the collected terms to the host, in one transfer, and checks them.

        Of several processes all call this at the same steps, and read the same.
        """
        if not self._unread:
            return
        flat = torch.stack([v.double() for _, terms, _ in self._unread for v in terms.values()])
        counts = [float(count) for _, terms, count in self._unread for _ in terms]
        values = iter(mean_over_ranks(self.fabric, flat / flat.new_tensor(counts)).tolist())
        for step, terms, _ in self._unread:
            read = {name: next(values) for name in terms}
            for name, value in read.items():
                if not math.isfinite(value):
                    raise NonFiniteError(self._stopped(f"'{name}' is {value} at step {step}"))
            self._pending.append((step, read))
        self._unread.clear()

    def _stopped(self, reason: str) -> str:
        """The words of an error that ends the training."""
        kept = f"; the last good checkpoint is in {self.folder}" if self.folder else ""
        return (
            f"{reason}: the training stops{kept}. Look for NaN in the data, or try a smaller "
            "learning rate, a smaller mi_weight or gradient clipping"
        )

    def _check_parameters(self) -> None:
        """Raises a :class:`NonFiniteError` unless all parameters are finite: never save others."""
        named = [*self.objective.named_parameters(), *self.stored.items()]
        for name, parameter in named:
            if not bool(torch.isfinite(parameter).all()):
                raise NonFiniteError(
                    self._stopped(f"the parameter '{name}' is not finite after step {self.step}")
                )

    def _log(self) -> dict[str, float]:
        self._read()
        names = dict.fromkeys(name for _, terms in self._pending for name in terms)
        means = {}
        for name in names:
            values = [terms[name] for _, terms in self._pending if name in terms]
            means[name] = sum(values) / len(values)
        if self.step % self.log_every == 0:  # else it is the last step, or a part of a row
            self._pending.clear()
        elbo = self.objective.elbo
        if isinstance(elbo, TraceMI_ELBO):
            means = by_channel(means, elbo.channel)
        self.history.add(self.step, self._epoch(), "train", means)
        self._tell("log", means)
        return means

    def _epoch(self) -> float:
        return self.step / self.batches.steps_per_epoch

    def _tell(self, kind: str, terms: Mapping[str, float]) -> None:
        if not self.fabric.is_global_zero:
            return
        event = Event(kind, self.step, self._epoch(), terms, self.history)
        for callback in self.callbacks:
            callback(event)


def _short(terms: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in terms.items())
