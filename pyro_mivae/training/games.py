"""What a training step consists of: the turns of its players, one of an ELBO and two of a GAN."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_mivae.batches import Batch
from pyro_mivae.traces.call import Call
from pyro_mivae.training.optimizers import adam

Terms = dict[str, Tensor]
MODEL = "model"
READER = "reader"


@dataclass(frozen=True)
class Turn:
    """One update of a step.

    Attributes:
        player: Player whose parameters are updated.
        batch: Number of the batch among those that the step reads.
    """

    player: str
    batch: int = 0


class Game(ABC):
    """The players of a training, and what they compute in their turns.

    Attributes:
        elbo: The objective, an ELBO or an adversarial one.
        turns: The turns of a step, in order.
        modules: Modules to train besides model and guide, by name.
        averaged_without: Programs whose buffers are not those of the player ``"model"``.
        alone: Whether processes average the gradients of each turn's player after the turn, and
            not while they are computed.
    """

    elbo: Any
    turns: tuple[Turn, ...] = (Turn(MODEL),)
    modules: Mapping[str, nn.Module] = {}
    averaged_without: tuple[Any, ...] = ()
    alone = False

    @property
    def players(self) -> list[str]:
        """The players, in the order of their first turns."""
        return list(dict.fromkeys(turn.player for turn in self.turns))

    @property
    def batches_per_step(self) -> int:
        """The number of batches that a step reads."""
        return 1 + max(turn.batch for turn in self.turns)

    @abstractmethod
    def compute(
        self, turn: int, count: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Terms, Tensor]:
        """Computes the terms of a turn, and the loss per datum, with its gradient.

        Args:
            turn: Number of the turn in the step.
            count: What sums over the data of the batch are divided by.
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
        """

    @abstractmethod
    def look(self, call: Call, count: float, few: Callable[[int], Batch]) -> None:
        """Runs all parts of the objective once on `count` data, without gradients.

        Args:
            call: The first batch, with its programs.
            count: Number of data in it.
            few: Makes a batch of a given small number of data.
        """

    @abstractmethod
    def sums(self, call: Call, count: float, few: Callable[[int], Batch]) -> Terms:
        """Computes the terms over a batch, summed over its `count` data, without gradients.

        Args:
            call: A batch, with its programs.
            count: Number of data in it.
            few: Makes a batch of a given small number of data.
        """

    def owners(self, batch: Batch, trained: list[Tensor]) -> dict[str, list[Tensor]]:
        """Gives each of the trained parameters to its player."""
        return {MODEL: trained}

    @abstractmethod
    def divisor(self, count: float) -> float:
        """Returns what the terms of a turn are divided by for those per datum.

        Args:
            count: What sums over the data of the batch are divided by.
        """

    def merged(self, turns: Sequence[Terms]) -> Terms:
        """Makes the terms of a step of those of its turns."""
        return turns[0]

    def of_player(self, term: str) -> str:
        """Says for an error whose term it is; "" where there is one player."""
        return ""

    def loss_name(self, player: str) -> str:
        """Names the term that a player minimises."""
        return "loss"

    def optimizer(self, player: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Makes the default optimiser of a player."""
        return adam(parameters)

    def short(self, terms: Mapping[str, float]) -> str:
        """Writes the losses and the information in a few words, for the progress bar."""
        information = f", MI {terms['mi']:.2f}" if "mi" in terms else ""
        return f"loss {terms['loss']:.1f}{information} nats"

    def watch(  # noqa: B027 -- an ELBO's loss says itself how well the training goes
        self, step: int, terms: Mapping[str, float], batch: Batch
    ) -> None:
        """Looks for signs of a failing training at a reading."""

    def plan(self, to_come: int) -> None:  # noqa: B027 -- an ELBO's steps can be recorded
        """Decides how steps are computed, before the first of `to_come`."""

    def choose(  # noqa: B027 -- likewise
        self, to_come: int, agree: Callable[[bool], bool]
    ) -> None:
        """Decides after a step how the following are computed.

        Args:
            to_come: Number of steps to come.
            agree: Gives all processes of a training the choice of the first.
        """

    def note(self) -> dict[str, str]:
        """Returns what a checkpoint notes of how steps are computed, and why."""
        return {}

    def resume(self, done: int, noted: Mapping[str, Any]) -> None:  # noqa: B027 -- likewise
        """Takes up what :meth:`note` had noted after `done` steps."""

    def advance(self) -> None:  # noqa: B027 -- not all objectives have schedules
        """Moves the schedules of the objective by a step."""

    def state_dict(self) -> dict[str, int]:
        """Returns what a checkpoint keeps of the objective besides its modules."""
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:  # noqa: B027 -- likewise
        """Restores :meth:`state_dict`."""
