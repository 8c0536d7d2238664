"""Parameters and buffers of several copies of a pair in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SHOWN = 3
"""Differences that an error lists."""


class Stack:
    """The parameters and buffers of all copies, stacked; those of the modules are views of them.

    Args:
        modules: One module for each copy, all of one architecture.
        seeds: Seeds of the copies, for messages.

    Attributes:
        values: The stacked tensors, ``(copies, *shape)``, in the order of a module's parameters
            and then its buffers.

    Raises:
        ValueError: If the modules differ in names, shapes or types, or share a tensor.
    """

    def __init__(self, modules: Sequence[nn.Module], seeds: Sequence[int]) -> None:
        named = [_named(module) for module in modules]
        for seed, other in zip(seeds[1:], named[1:], strict=True):
            _check_same(named[0], other, seeds[0], seed)
        shared = [n for other in named[1:] for n, t in other.items() if t is named[0].get(n)]
        if shared:
            raise ValueError(
                f"make_pair: the pairs of two seeds share the parameter '{shared[0]}': make new "
                "modules in each call"
            )
        self._own = [list(tensors.values()) for tensors in named]
        self._places = [{id(t): i for i, t in enumerate(tensors)} for tensors in self._own]
        self.values: list[Tensor] = []
        with torch.no_grad():
            for tensors in zip(*self._own, strict=True):
                stacked = torch.stack([tensor.detach() for tensor in tensors])
                self.values.append(stacked)
                for tensor, row in zip(tensors, stacked, strict=True):
                    tensor.data = row

    def place(self, copy: int, tensor: Tensor) -> int | None:
        """Finds the number of a copy's tensor in the stack; None if it is not part of it."""
        return self._places[copy].get(id(tensor))

    def release(self, copy: int) -> None:
        """Gives the tensors of a copy memory of their own, with the present values."""
        for tensor in self._own[copy]:
            tensor.data = tensor.detach().clone()


def _named(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _check_same(
    first: dict[str, Tensor], other: dict[str, Tensor], seed: int, other_seed: int
) -> None:
    differences = [
        f"'{name}': {_kind(first, name)} of seed {seed}, {_kind(other, name)} of seed {other_seed}"
        for name in dict.fromkeys([*first, *other])
        if _kind(first, name) != _kind(other, name)
    ]
    if differences:
        raise ValueError(
            "make_pair: expected pairs of one architecture, found "
            f"{'; '.join(differences[:SHOWN])}. The seed may change weights and data alone"
        )


def _kind(tensors: dict[str, Tensor], name: str) -> str:
    if name not in tensors:
        return "none"
    tensor = tensors[name]
    trained = "" if tensor.requires_grad else ", without gradient"
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}{trained}"
