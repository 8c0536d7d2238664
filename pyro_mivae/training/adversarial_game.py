"""The training of a GAN: a game of two players."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.batches import Batch
from pyro_mivae.infer import PlayerStep, TraceMI_GAN
from pyro_mivae.traces.call import Call
from pyro_mivae.training.collapse import CollapseWatch
from pyro_mivae.training.games import MODEL, READER, Game, Terms, Turn
from pyro_mivae.training.parallel import share_factor


class AdversarialGame(Game):
    """Two players: the reader, discriminator with guide, and then the model.

    Args:
        model: A Pyro model.
        guide: The guide of its codes.
        gan: The adversarial objective.
        discriminator_steps: Turns of the reader before each of the model, each on another batch.
        share: Rank of this process, and number of all.
    """

    alone = True

    def __init__(
        self,
        model: Any,
        guide: Any,
        gan: TraceMI_GAN,
        discriminator_steps: int = 1,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.model, self.guide, self.elbo, self.share = model, guide, gan, share
        last = discriminator_steps - 1
        readers = [Turn(READER, batch) for batch in range(discriminator_steps)]
        self.turns = (*readers, Turn(MODEL, last))
        self.modules = {"discriminator": gan.discriminator}
        self.averaged_without = (guide, gan.discriminator)
        self.collapse = CollapseWatch(gan)
        self._following: PlayerStep | None = None

    def compute(
        self, turn: int, count: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Terms, Tensor]:
        """Computes a turn's terms and loss, per datum; x' is generated once for both players."""
        call = (self.model, self.guide, *args)
        if self.turns[turn].player == MODEL:
            if self._following is None:
                raise RuntimeError("the model's turn comes after the reader's of the same step")
            step, self._following = self._following, None
        elif turn == len(self.turns) - 2:
            step, self._following = self.elbo.steps(*call, **kwargs)
        else:
            step = self.elbo.reader_step(*call, **kwargs)
        terms, loss = step()
        factor = share_factor(count, *self.share)
        if factor == 1.0:
            return terms, loss
        return {name: value * factor for name, value in terms.items()}, loss * factor

    def look(self, call: Call, count: float, few: Callable[[int], Batch]) -> None:
        """Computes the terms once."""
        self.elbo.terms(call.model, call.guide, *call.args, **call.kwargs)

    def sums(self, call: Call, count: float, few: Callable[[int], Batch]) -> Terms:
        """Computes the terms per datum, and makes sums of them."""
        terms = self.elbo.terms(call.model, call.guide, *call.args, **call.kwargs)
        return {name: value * count for name, value in terms.items()}

    def owners(self, batch: Batch, trained: list[Tensor]) -> dict[str, list[Tensor]]:
        """Gives each parameter to the player in whose loss it has a gradient."""
        players = self.elbo.players(self.model, self.guide, *batch.args, **batch.kwargs)
        of_reader = {id(parameter) for parameter in players.reader.values()}
        of_model = {id(parameter) for parameter in players.model.values()}
        return {
            READER: [p for p in trained if id(p) in of_reader],
            MODEL: [p for p in trained if id(p) in of_model],
        }

    def divisor(self, count: float) -> float:
        """Returns 1, as the terms are those of one datum."""
        return 1.0

    def merged(self, turns: Sequence[Terms]) -> Terms:
        """Takes means over the reader's turns; the information is that of the model's turn."""
        *readers, model = turns
        terms = dict(readers[0])
        if len(readers) > 1:
            terms = {name: torch.stack([t[name] for t in readers]).mean(0) for name in terms}
        terms |= model
        return {name: terms[name] for name in sorted(terms, key=_place)}

    def of_player(self, term: str) -> str:
        """Names the player whose turn a term comes from."""
        reader = term.split("/")[0] == "discriminator" or term == f"loss/{READER}"
        return READER if reader else MODEL

    def loss_name(self, player: str) -> str:
        """Names the loss of a player."""
        return f"loss/{player}"

    def optimizer(self, player: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Makes InfoGAN's Adam, with a reader that learns somewhat faster than InfoGAN's."""
        rate = 1e-3 if player == MODEL else 5e-4
        return torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.999), fused=True)

    def short(self, terms: Mapping[str, float]) -> str:
        """Writes both losses without their information, and the information."""
        losses = f"D {terms['discriminator']:.2f}, G {terms['generator']:.2f}"
        return losses + (f", MI {terms['mi']:.2f}" if "mi" in terms else "") + " nats"

    def watch(self, step: int, terms: Mapping[str, float], batch: Batch) -> None:
        """Warns where the game is decided or the generated data are alike."""
        self.collapse(step, terms, Call(self.model, self.guide, batch.args, batch.kwargs))

    def advance(self) -> None:
        """Moves the schedules."""
        self.elbo.step += 1

    def state_dict(self) -> dict[str, int]:
        """Returns the step of the schedules."""
        state: dict[str, int] = self.elbo.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores :meth:`state_dict`."""
        self.elbo.load_state_dict(state)


def _place(term: str) -> int:
    """The terms in the order of :meth:`TraceMI_GAN.terms`: parts, information, losses."""
    return {"mi": 1, "loss": 2}.get(term.split("/")[0], 0)
