"""The training of an ELBO: a game of one player."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.infer import CompiledELBO, TraceMI_ELBO, compile_elbo
from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.traces.call import Call
from pyro_mivae.training.games import Game, Terms


class ElboGame(Game):
    """One player: the loss of an ELBO, minimised in model and guide.

    Args:
        model: A Pyro model.
        guide: Its guide.
        elbo: An ELBO of this library or of Pyro.
        compile: Whether to use :func:`~pyro_mivae.infer.compile_elbo`, or what it has made.

    Raises:
        ValueError: If what was compiled is of another model, guide or ELBO.
    """

    def __init__(self, model: Any, guide: Any, elbo: ELBO, compile: bool | CompiledELBO) -> None:  # noqa: A002
        self.model, self.guide, self.elbo = model, guide, with_terms(elbo)
        self.compiled: CompiledELBO | None = None
        if isinstance(compile, CompiledELBO):
            parts = compile.model, compile.guide, compile.elbo
            if not all(a is b for a, b in zip(parts, (model, guide, self.elbo), strict=True)):
                raise ValueError(
                    "compile: expected what compile_elbo made of this model, guide and ELBO, found "
                    "that of others: pass the same objects to both, or compile=True"
                )
            self.compiled = compile
        elif compile:
            self.compiled = compile_elbo(self.elbo, model, guide)

    def compute(
        self, turn: int, count: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Terms, Tensor]:
        """Sums the terms over the data; the loss per datum beside them has the gradient."""
        if self.compiled is not None:
            return self.compiled.scaled_terms(args, kwargs, scale=1 / count)
        terms = loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs))
        loss = terms["loss"]
        return {**terms, "loss": loss.detach()}, loss / count

    def look(self, call: Call) -> None:
        """Computes the loss once."""
        self.elbo.loss(call.model, call.guide, *call.args, **call.kwargs)

    def sums(self, call: Call, count: float) -> Terms:
        """Computes the terms of a :class:`TraceMI_ELBO`."""
        elbo: Any = self.elbo
        terms: Terms = elbo.terms(call.model, call.guide, *call.args, **call.kwargs)
        return terms

    def advance(self) -> None:
        """Moves the schedules of a :class:`TraceMI_ELBO`."""
        if isinstance(self.elbo, TraceMI_ELBO):
            self.elbo.step += 1

    def state_dict(self) -> dict[str, int]:
        """Returns the step of a :class:`TraceMI_ELBO`."""
        return self.elbo.state_dict() if isinstance(self.elbo, TraceMI_ELBO) else {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores :meth:`state_dict`."""
        if isinstance(self.elbo, TraceMI_ELBO):
            self.elbo.load_state_dict(state)
