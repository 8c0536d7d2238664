"""The training of an ELBO: a game of one player."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.traces.call import Call
from pyro_mivae.training.data_plates import DataPlates
from pyro_mivae.training.games import Game, Terms
from pyro_mivae.training.steps import Compile, Steps


class ElboGame(Game):
    """One player: the loss of an ELBO, minimised in model and guide.

    Args:
        model: A Pyro model.
        guide: Its guide.
        elbo: An ELBO of this library or of Pyro.
        compile: As for :class:`~pyro_mivae.training.steps.Steps`.

    Attributes:
        steps: How the loss is computed.
    """

    def __init__(self, model: Any, guide: Any, elbo: ELBO, compile: Compile) -> None:  # noqa: A002
        self.model, self.guide, self.elbo = model, guide, with_terms(elbo)
        self.steps = Steps(self.elbo, model, guide, compile)
        self._looked = False

    def compute(
        self, turn: int, count: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Terms, Tensor]:
        """Sums the terms over the data; the loss per datum beside them has the gradient."""
        number = self.divisor(count)
        recorded = self.steps.compute(args, kwargs, 1 / number)
        if recorded is not None:
            return recorded
        terms = loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs))
        loss = terms["loss"]
        return {**terms, "loss": loss.detach()}, loss / number

    def plan(self, to_come: int) -> None:
        """Decides between eager and replayed steps."""
        self.steps.plan(to_come)

    def choose(self, to_come: int, agree: Callable[[bool], bool]) -> None:
        """Decides between replayed and compiled steps, by the times of the first."""
        self.steps.choose(to_come, agree)

    def note(self) -> dict[str, str]:
        """Returns the way of the steps and why it was chosen, once it is."""
        return self.steps.note()

    def resume(self, done: int, noted: Mapping[str, Any]) -> None:
        """Goes on in the way that a checkpoint notes, where none is asked for."""
        self.steps.resume(done, noted.get("steps"))

    def look(self, call: Call, count: float) -> None:
        """Computes the loss once, and finds the number of data that it is a sum over."""
        with DataPlates(count) as plates:
            self.elbo.loss(call.model, call.guide, *call.args, **call.kwargs)
        if not self._looked:  # not by a second look, at a single datum
            self.number, self._looked = plates.number, True

    def sums(self, call: Call, count: float) -> Terms:
        """Computes the terms of a :class:`TraceMI_ELBO`."""
        elbo: Any = self.elbo
        with DataPlates(count) as plates:
            terms: Terms = elbo.terms(call.model, call.guide, *call.args, **call.kwargs)
        if plates.number is None:
            return terms
        return {name: value * (count / plates.number) for name, value in terms.items()}

    def advance(self) -> None:
        """Counts a step, and moves the schedules of a :class:`TraceMI_ELBO`."""
        self.steps.done += 1
        if isinstance(self.elbo, TraceMI_ELBO):
            self.elbo.step += 1

    def state_dict(self) -> dict[str, int]:
        """Returns the step of a :class:`TraceMI_ELBO`."""
        return self.elbo.state_dict() if isinstance(self.elbo, TraceMI_ELBO) else {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores :meth:`state_dict`."""
        if isinstance(self.elbo, TraceMI_ELBO):
            self.elbo.load_state_dict(state)
