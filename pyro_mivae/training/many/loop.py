"""The loop of a training of many seeds: steps of all copies, rows and checkpoints of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyro_mivae.progress import Progress
from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.many.copies import CopyLoop, check_distinct
from pyro_mivae.training.many.elementwise import StackedOptimizer
from pyro_mivae.training.many.stack import Stack
from pyro_mivae.training.many.stepping import Stepping
from pyro_mivae.training.players import MakeOptimizer
from pyro_mivae.training.signals import Interrupted, collected_signals

logger = logging.getLogger(__name__)


class ManyLoop:
    """The steps of all copies.

    Attributes:
        unread: Step, terms ``(copies,)`` summed over data, and number of data, on the device.

    Args:
        loops: The copies, all at one step.
        stack: Their parameters and buffers.
        optimizer: The optimiser of the stacked parameters.
        stepping: The computation of a step.
        folder: Folder of the checkpoints, for messages; None if none are written.
    """

    def __init__(
        self,
        loops: Sequence[CopyLoop],
        stack: Stack,
        optimizer: StackedOptimizer,
        stepping: Stepping,
        folder: Path | None,
    ) -> None:
        self.loops, self.stack, self.optimizer, self.stepping = loops, stack, optimizer, stepping
        self.folder = folder
        self.unread: list[tuple[int, dict[str, Tensor], float]] = []

    @property
    def step(self) -> int:
        """The steps done."""
        return max(loop.step for loop in self.loops)

    @property
    def active(self) -> list[int]:
        """The numbers of the copies that are trained."""
        return [number for number, loop in enumerate(self.loops) if loop.active]

    def run(self, steps: int, checkpoint_every: int, progress: bool) -> None:
        """Trains until `steps` steps are done, or no copy is left.

        Args:
            steps: Steps to have done at the end.
            checkpoint_every: Steps between two checkpoints.
            progress: Whether to show progress.

        Raises:
            Interrupted: After SIGINT or SIGTERM, with the checkpoints written.
        """
        self.optimizer.gather()
        self.stepping.last = steps - 1
        words = f"training {len(self.loops)} seeds"
        bar = Progress(words, steps, "steps", done=self.step, shown=progress)
        log_every = self.loops[0].log_every
        with bar, collected_signals(active=self.folder is not None) as received:
            self._end([n for n in self.active if self.step and self.loops[n].ended()])
            while self.step < steps and self.active:
                self.one_step()
                bar.update()
                ended: list[int] = []
                if reading := self.step % log_every == 0 or self.step == steps:
                    bar.note(self._rows())
                for number in self.active:
                    self.loops[number].end_epoch()
                if reading:
                    ended = [number for number in self.active if self.loops[number].ended()]
                due = self.step % checkpoint_every == 0 or self.step == steps
                self._save(self.active if received or due else ended)
                self._end(ended)
                if received and self.active and self.folder is not None:
                    raise Interrupted(self.step, self.folder, received[0])
            self._end(self.active)
            if received and self.folder is not None:
                raise Interrupted(self.step, self.folder, received[0])

    def one_step(self) -> None:
        """Trains all copies on a batch; terms stay on the device."""
        parameters, gradients, terms, count = self.stepping()
        by_id = {id(p): gradient for p, gradient in zip(parameters, gradients, strict=True)}
        self.optimizer.step(by_id, self.active[0])
        for number in self.active:
            self.loops[number].end_step()
        self.unread.append((self.step, terms, count))

    def release(self) -> None:
        """Gives the modules of the copies that are still trained memory of their own."""
        for number in self.active:
            self.stack.release(number)

    def read(self) -> None:
        """Brings the terms of all copies to the host, in one transfer; takes out copies of NaN."""
        if not self.unread:
            return
        flat = torch.stack([v.double() for _, terms, _ in self.unread for v in terms.values()])
        counts = [float(count) for _, terms, count in self.unread for _ in terms]
        rows = iter((flat / flat.new_tensor(counts)[:, None]).tolist())
        for step, terms, _ in self.unread:
            columns = {name: next(rows) for name in terms}
            for number in self.active:
                values = {name: column[number] for name, column in columns.items()}
                try:
                    self.loops[number].take_terms(step, values)
                except NonFiniteError as error:
                    self._take_out(number, self.loops[number].stopped(error))
        self.unread.clear()

    def _take_out(self, number: int, error: NonFiniteError) -> None:
        loop = self.loops[number]
        loop.active, loop.error = False, error
        self.stack.release(number)
        logger.warning("the copy of seed %d is taken out, the others go on. %s", loop.seed, error)

    def _end(self, numbers: Sequence[int]) -> None:
        """Ends the training of copies, whose modules get memory of their own."""
        for number in numbers:
            self.stack.release(number)
            self.loops[number].finish()
            self.loops[number].active = False

    def _rows(self) -> str:
        """Adds a row to the history of each copy; returns words for the progress bar."""
        self.read()
        losses = [self.loops[number].row() for number in self.active]
        return f"loss {min(losses):.1f} to {max(losses):.1f} nats" if losses else ""

    def _save(self, numbers: Sequence[int]) -> None:
        """Writes checkpoints of those copies that are finite."""
        if numbers:
            self.read()
        for number in numbers:
            if self.loops[number].active:
                self.optimizer.hand_out(number)
                try:
                    self.loops[number].checkpoint()
                except NonFiniteError as error:
                    self._take_out(number, error)


def stack_copies(
    loops: Sequence[CopyLoop],
    optimizer: MakeOptimizer | None,
    compile: bool,  # noqa: A002 -- torch's word
    folder: Path | None = None,
) -> ManyLoop:
    """Stacks copies that were made ready, and records the first step.

    Args:
        loops: The copies.
        optimizer: Makes an optimiser from the parameters of a pair; None for Adam.
        compile: Whether Inductor compiles the step.
        folder: Folder of the checkpoints, for messages.

    Raises:
        ValueError: If the copies can't be trained as one; they are as before then.
    """
    check_distinct(loops)
    stack = Stack([loop.objective for loop in loops], [loop.seed for loop in loops])
    try:
        stepping = Stepping(loops, stack, compile)
        own = [loop.players[0].rates.optimizer for loop in loops]
        stacked = StackedOptimizer(optimizer, own, loops[0].players[0].parameters, stack)
        stepping.prepare()
    except BaseException:
        for copy in range(len(loops)):
            stack.release(copy)
        raise
    return ManyLoop(loops, stack, stacked, stepping, folder)
