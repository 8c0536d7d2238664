"""The players of a training: parameters, optimiser and learning rate of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyro_mivae.training.games import Game
from pyro_mivae.training.optimizers import LearningRates, make_optimizer

MakeOptimizer = Callable[[list[Tensor]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


@dataclass
class Player:
    """One player.

    Attributes:
        name: ``"model"``, for an ELBO its guide included, or ``"reader"``.
        parameters: The parameters that its turns update.
        rates: The learning rate and its schedule, with the optimiser as it was made.
        optimizer: The optimiser as Fabric set it up.
    """

    name: str
    parameters: list[Tensor]
    rates: LearningRates
    optimizer: Any = None


def make_players(
    game: Game,
    owners: Mapping[str, list[Tensor]],
    optimizer: MakeOptimizer | Mapping[str, MakeOptimizer] | None,
    lr_scheduler: MakeScheduler | Mapping[str, MakeScheduler] | None,
    steps: int,
) -> list[Player]:
    """Makes the optimiser and the schedule of each player.

    Args:
        game: The game, with default optimisers.
        owners: The parameters of each player.
        optimizer: What makes an optimiser of parameters; for each player, or by player.
        lr_scheduler: What makes a schedule of an optimiser, likewise.
        steps: Steps of the training.

    Raises:
        ValueError: If a name is no player's, or what is made is none of torch's.
    """
    if isinstance(optimizer, Optimizer) and len(game.players) > 1:
        raise ValueError(
            f"optimizer: the players {game.players} have parameters of their own: expected a "
            "callable that makes an optimiser from a list of parameters, or a dict of them by "
            f"player, found one {type(optimizer).__name__}"
        )
    optimizers = _by_player("optimizer", optimizer, game)
    schedulers = _by_player("lr_scheduler", lr_scheduler, game)
    players = []
    for name in game.players:
        parameters = owners[name]
        own = (
            game.optimizer(name, parameters)
            if optimizers[name] is None
            else make_optimizer(optimizers[name], parameters)
        )
        rates = LearningRates(own, schedulers[name], steps)
        players.append(Player(name, parameters, rates))
    return players


def _by_player(argument: str, value: Any, game: Game) -> dict[str, Any]:
    """A setting of each player; None for a player that a dict leaves out."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(game.players, value)
    if others := [name for name in value if name not in game.players]:
        raise ValueError(
            f"{argument}: expected a callable, or a dict of callables by player, of "
            f"{', '.join(map(repr, game.players))}; found {', '.join(map(repr, others))}"
        )
    return {name: value.get(name) for name in game.players}
