"""The training of an ELBO: a game of one player."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.batches import Batch
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.isolation import aside, device_of
from pyro_mivae.traces.call import Call
from pyro_mivae.training.data_plates import DataPlates
from pyro_mivae.training.games import Game, Terms
from pyro_mivae.training.parallel import share_factor
from pyro_mivae.training.steps import Compile, Steps


class ElboGame(Game):
    """One player: the loss of an ELBO, minimised in model and guide.

    Args:
        model: A Pyro model.
        guide: Its guide.
        elbo: An ELBO of this library or of Pyro.
        compile: As for :class:`~pyro_mivae.training.steps.Steps`.
        share: Rank of this process, and number of all.

    Attributes:
        steps: How the loss is computed.
        number: Number of data that the sums over any batch stand for, where a plate of the model
            takes the batch for a part of more data; None where they are sums over the batch.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        elbo: ELBO,
        compile: Compile,  # noqa: A002 -- torch's word
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.model, self.guide, self.elbo = model, guide, with_terms(elbo)
        self.share = share
        self.steps = Steps(self.elbo, model, guide, compile)
        self.number: int | None = None
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

    def divisor(self, count: float) -> float:
        """Returns the number of data that a process's terms are sums over."""
        if self.number is None:
            return count
        factor = share_factor(count, *self.share)
        return self.number / factor if factor else math.inf

    def look(self, call: Call, count: float, few: Callable[[int], Batch]) -> None:
        """Computes the loss once, and finds the number of data that it is a sum over."""
        with DataPlates(count) as plates:
            self.elbo.loss(call.model, call.guide, *call.args, **call.kwargs)
        self._find_number(plates, few)

    def sums(self, call: Call, count: float, few: Callable[[int], Batch]) -> Terms:
        """Computes the terms of a :class:`TraceMI_ELBO`."""
        elbo: Any = self.elbo
        with DataPlates(count) as plates:
            terms: Terms = elbo.terms(call.model, call.guide, *call.args, **call.kwargs)
        self._find_number(plates, few)
        if self.number is None:
            return terms
        return {name: value * (count / self.number) for name, value in terms.items()}

    def _find_number(self, plates: DataPlates, few: Callable[[int], Batch]) -> None:
        """Finds, by the first batch, the number of data that the sums over any are over."""
        if self._looked:
            return
        self._looked = True
        other = self._other_plates(plates, few) if plates.is_unclear else None
        self.number = plates.number(other)

    def _other_plates(self, plates: DataPlates, few: Callable[[int], Batch]) -> DataPlates | None:
        """The plates of a run on another number of data; None where the model takes no other."""
        number = 3 if plates.count == 2 else 2
        programs = (self.model, self.guide)
        with aside(programs, device_of(programs)):
            batch = few(number)
            other = DataPlates(number)
            try:
                with other:
                    self.elbo.loss(*programs, *batch.args, **batch.kwargs)
            except (RuntimeError, ValueError, IndexError) as error:
                sizes = {n: size for site in plates.plates.values() for n, size in site.items()}
                full = plates.number() or plates.count
                reason = str(error).splitlines() or [type(error).__name__]
                warnings.warn(
                    f"the plates {sorted(sizes)} have the size of a batch, {plates.count:g}, "
                    f"and the model can't be run on {number} data to see which of them is that "
                    f"of the data ({reason[0]}): terms are divided by "
                    f"{full:g}. Use another batch_size to be sure",
                    stacklevel=2,
                )
                return None
        return other

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
