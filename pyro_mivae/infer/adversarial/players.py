"""The two players: which parameters each has, and that none has another's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_mivae.infer.compiled.capture import leaves_of
from pyro_mivae.isolation import modules_of
from pyro_mivae.traces.call import Call

PLAYERS = ("reader", "model")
"""The players, in the order of their turns: discriminator with guide, and the model."""


@dataclass(frozen=True)
class Players:
    """The parameters of the two players, by name; each parameter once.

    Attributes:
        reader: Those of discriminator and guide.
        model: Those of the model, learnable priors among them.
    """

    reader: dict[str, Tensor]
    model: dict[str, Tensor]


@dataclass(frozen=True)
class PlayerStep:
    """The turn of one player.

    Attributes:
        player: ``"reader"`` or ``"model"``.
        compute: Computes the terms and the loss; see :meth:`__call__`.
    """

    player: str
    compute: Callable[[], tuple[dict[str, Tensor], Tensor]]

    def __call__(self) -> tuple[dict[str, Tensor], Tensor]:
        """Computes the terms, detached, and the player's loss; once.

        Returns:
            The terms, tensors of shape ``()`` per datum, and the loss, whose gradient is in the
            player's own parameters and in no other.
        """
        return self.compute()


def share_out(
    call: Call, discriminator: nn.Module, model: Iterable[Tensor], reader: Iterable[Tensor]
) -> Players:
    """Gives each parameter to its player.

    Parameters are told apart by identity. A player has what its loss has a gradient in, and all of
    the modules that it is.

    Args:
        call: The pair.
        discriminator: The discriminator.
        model: Tensors that the model has computed.
        reader: Tensors that discriminator and guide have computed from x' without its gradient.

    Raises:
        ValueError: If a parameter of the model is the other player's, too.
    """
    of_model = {id(leaf): leaf for leaf in leaves_of(*model)}
    of_reader = {id(leaf): leaf for leaf in leaves_of(*reader)}
    for owned, programs in ((of_model, [call.model]), (of_reader, [discriminator, call.guide])):
        for program in programs:
            if isinstance(program, nn.Module):
                owned |= {id(p): p for p in program.parameters() if p.requires_grad}
    names = _names(call, discriminator)
    shared = [
        names.get(key, f"of shape {tuple(leaf.shape)}")
        for key, leaf in of_model.items()
        if key in of_reader
    ]
    if shared:
        raise ValueError(
            f"the model and its opponent share the parameters {shared}: the discriminator or the "
            "guide has them, too. The two players have opposite losses, so that a parameter can "
            "belong to one only. Expected a model with modules of its own (the guide may share "
            "the discriminator's)"
        )
    return Players(reader=_by_name(of_reader, names), model=_by_name(of_model, names))


def _by_name(owned: dict[int, Tensor], names: dict[int, str]) -> dict[str, Tensor]:
    """Parameters by a name that no other has."""
    by_name: dict[str, Tensor] = {}
    for key, parameter in owned.items():
        name = names.get(key, "parameter")
        number = 1
        while name in by_name:
            number += 1
            name = f"{names.get(key, 'parameter')} ({number})"
        by_name[name] = parameter
    return by_name


def _names(call: Call, discriminator: nn.Module) -> dict[int, str]:
    """Names of parameters by identity: of the programs, of modules behind them, of Pyro's store."""
    names: dict[int, str] = {}
    programs: list[tuple[str, Any]] = [
        ("model", call.model),
        ("guide", call.guide),
        ("discriminator", discriminator),
    ]
    for name, program in programs:
        if isinstance(program, nn.Module):
            for key, parameter in program.named_parameters():
                names.setdefault(id(parameter), f"{name}.{key}")
    for module in modules_of([call.model, call.guide]):
        for key, parameter in module.named_parameters(recurse=False):
            names.setdefault(id(parameter), f"{type(module).__name__}.{key}")
    for key, parameter in pyro.get_param_store()._params.items():
        names.setdefault(id(parameter), key)
    return names
