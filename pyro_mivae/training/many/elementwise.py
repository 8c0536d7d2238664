"""One optimiser of stacked parameters, equal to an optimiser for each copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pyro_mivae.training.many.stack import Stack
from pyro_mivae.training.optimizers import adam, make_optimizer

ELEMENTWISE: tuple[type[Optimizer], ...] = (
    *(torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam),
    *(torch.optim.Adamax, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.RMSprop),
    *(torch.optim.SGD, torch.optim.ASGD, torch.optim.Rprop),
)
"""Optimisers that update each number of a parameter by itself."""
_COMMON = ("step", "eta", "mu", "mu_product")
"""What such an optimiser keeps for a parameter as a whole; the rest is of the parameter's shape."""


def check_elementwise(optimizer: Any) -> None:
    """Refuses an optimiser that would mix the copies.

    Raises:
        ValueError: If its class is not one of :data:`ELEMENTWISE`, or it has hooks.
    """
    remedy = "Train each seed with fit, in a loop"
    if type(optimizer) not in ELEMENTWISE:
        names = ", ".join(cls.__name__ for cls in ELEMENTWISE)
        raise ValueError(
            f"optimizer: fit_many takes torch's optimisers that update each number by itself "
            f"({names}), so that the copies do not mix, found {type(optimizer).__name__}. {remedy}"
        )
    hooks = [*optimizer._optimizer_step_pre_hooks, *optimizer._optimizer_step_post_hooks]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    hooks += [p for p in parameters if p._backward_hooks or p._post_accumulate_grad_hooks]
    if hooks:
        raise ValueError(
            "optimizer: found hooks of the optimiser or of parameters, as for the clipping of a "
            f"total norm, which would see all copies at once, or nothing. {remedy}"
        )


class StackedOptimizer:
    """An optimiser of the stacked parameters.

    Args:
        make: Makes an optimiser from the parameters of one pair, as in ``fit``; None for Adam.
        own: The optimiser of each copy, which keeps its settings and, in checkpoints, its state.
        trained: Parameters of the first copy, which `make` gets.
        stack: The stacked parameters.

    Raises:
        ValueError: If the optimiser has other parameters than it was given.
    """

    def __init__(
        self,
        make: Callable[[list[Tensor]], Optimizer] | None,
        own: Sequence[Optimizer],
        trained: list[Tensor],
        stack: Stack,
    ) -> None:
        self.own = own
        # Made from the copy's parameters, since a user's groups may go by their dimensions.
        self.optimizer = adam(trained) if make is None else make_optimizer(make, trained)
        self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            places = [stack.place(0, parameter) for parameter in group["params"]]
            if None in places:
                raise ValueError(
                    "optimizer: expected a callable that makes an optimiser from the parameters "
                    "that it is given, found one with other parameters"
                )
            group["params"] = [stack.values[place] for place in places if place is not None]

    def step(self, gradients: dict[int, Tensor], like: int) -> None:
        """Updates all copies.

        Args:
            gradients: Stacked gradients by the ``id`` of the stacked parameter.
            like: A copy whose optimiser has the present settings, as learning rates.
        """
        groups = zip(self.optimizer.param_groups, self.own[like].param_groups, strict=True)
        for group, own in groups:
            group.update({name: value for name, value in own.items() if name != "params"})
            for parameter in group["params"]:
                parameter.grad = gradients.get(id(parameter))
        self.optimizer.step()

    def gather(self) -> None:
        """Takes the states of the copies' optimisers."""
        for parameters, stacked in self._pairs():
            states = [own.state.get(p, {}) for own, p in zip(self.own, parameters, strict=True)]
            if states[0]:
                self.optimizer.state[stacked] = {
                    name: torch.stack([state[name] for state in states])
                    if _is_of_copy(name, value)
                    else value
                    for name, value in states[0].items()
                }

    def hand_out(self, copy: int) -> None:
        """Gives the state of a copy to its own optimiser, as tensors of its own."""
        for parameters, stacked in self._pairs():
            if stacked in self.optimizer.state:
                self.own[copy].state[parameters[copy]] = {
                    name: (value[copy] if _is_of_copy(name, value) else value).clone()
                    if isinstance(value, Tensor)
                    else value
                    for name, value in self.optimizer.state[stacked].items()
                }

    def _pairs(self) -> list[tuple[list[Tensor], Tensor]]:
        """Each parameter of all copies with the stacked one."""
        pairs = []
        for number, group in enumerate(self.optimizer.param_groups):
            own = [optimizer.param_groups[number]["params"] for optimizer in self.own]
            pairs += [
                (list(parameters), stacked)
                for *parameters, stacked in zip(*own, group["params"], strict=True)
            ]
        return pairs


def _is_of_copy(name: str, value: Any) -> bool:
    return isinstance(value, Tensor) and name not in _COMMON
