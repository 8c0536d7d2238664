"""Model, guide and objective as the one module that is trained."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_mivae.batches import Batch
from pyro_mivae.infer import CompiledELBO, TraceMI_GAN
from pyro_mivae.training.adversarial_game import AdversarialGame
from pyro_mivae.training.elbo_game import ElboGame
from pyro_mivae.training.games import Game
from pyro_mivae.training.steps import Compile

logger = logging.getLogger(__name__)


class Objective(nn.Module):
    """Model, guide and, of a GAN, discriminator as one module, called for each turn of a step.

    The discriminator is put into training mode; model and guide stay in theirs.

    Args:
        model: A Pyro model, a module or a function.
        guide: Its guide.
        game: What the players compute.

    Attributes:
        behind: Modules that model and guide use without being them, see :meth:`hold`.
        known: Names in Pyro's store after the run that has found the parameters; None before.
    """

    def __init__(self, model: Any, guide: Any, game: Game) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.behind = nn.ModuleList()
        for name, module in game.modules.items():
            self.add_module(name, module.train())
        self.game = game
        self.known: set[str] | None = None

    @property
    def programs(self) -> tuple[Any, ...]:
        """Model, guide, and the modules that are trained besides them."""
        return (self.model, self.guide, *self.game.modules.values())

    def hold(self, modules: Sequence[nn.Module]) -> None:
        """Adds modules that functions, methods and objects call: their state is the objective's.

        Those that are parts of the objective already are left out.
        """
        parts = {id(module) for module in self.modules()}
        self.behind.extend(module for module in modules if id(module) not in parts)

    def forward(
        self, turn: int, count: float, /, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Computes the terms of a turn, and the loss per datum with its gradient.

        Args:
            turn: Number of the turn in the step.
            count: What sums over the data of the batch are divided by.
            *args: Positional arguments of model and guide.
            **kwargs: Keyword arguments of both.
        """
        return self.game.compute(turn, count, args, kwargs)

    def watch(self, step: int, terms: Mapping[str, float], batch: Batch) -> None:
        """Looks at a reading for parameters that came too late, and lets the game look.

        Args:
            step: Steps done.
            terms: Means of the terms.
            batch: The last batch.
        """
        late = set() if self.known is None else set(pyro.get_param_store()) - self.known
        if late:
            self.known = set(pyro.get_param_store())
            logger.warning(
                "the parameters %s came into Pyro's store after the first run, at step %d or "
                "before, and are not trained: fit trains those that model and guide use in their "
                "first run. Use all of them from the start (times 0, say)",
                *(sorted(late), step),
            )
        self.game.watch(step, terms, batch)


def make_game(
    model: Any,
    guide: Any,
    objective: ELBO | TraceMI_GAN,
    compile: Compile = False,  # noqa: A002 -- torch's word
    *,
    discriminator_steps: int = 1,
    share: tuple[int, int] = (0, 1),
) -> Game:
    """Makes the game of an objective.

    Args:
        model: A Pyro model.
        guide: Its guide.
        objective: An ELBO, or the adversarial objective.
        compile: As for :func:`~pyro_mivae.training.fit`.
        discriminator_steps: Turns of the reader to each of the model.
        share: Rank of this process, and number of all.

    Raises:
        ValueError: If the settings are not those of the objective.
    """
    if isinstance(discriminator_steps, bool) or not isinstance(discriminator_steps, int):
        raise ValueError(
            f"discriminator_steps must be a whole number, found {discriminator_steps!r}"
        )
    if discriminator_steps < 1:
        raise ValueError(f"discriminator_steps must be at least 1, found {discriminator_steps}")
    if not isinstance(objective, TraceMI_GAN):
        if discriminator_steps != 1:
            raise ValueError(
                f"discriminator_steps={discriminator_steps} is for TraceMI_GAN: "
                f"{type(objective).__name__} has one player, whose parameters are updated together"
            )
        return ElboGame(model, guide, objective, compile, share)
    if isinstance(compile, CompiledELBO):
        raise ValueError(
            "compile: expected False for TraceMI_GAN, found what compile_elbo made of an ELBO"
        )
    if compile == "auto":
        logger.info("steps run in eager mode: %s has two losses", type(objective).__name__)
    elif compile:
        warnings.warn(
            f"compile={compile!r} records the loss of an ELBO: the two losses of TraceMI_GAN are "
            "computed in eager mode",
            stacklevel=4,
        )
    return AdversarialGame(model, guide, objective, discriminator_steps, share)
