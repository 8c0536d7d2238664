"""Seeing each module that a program calls, wherever the program keeps it."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

_OF_COMPILED = r"Using `torch.compile\(module\)` when there are global hooks"
"""PyTorch's warning that a compiled module is shown to a hook; no compiled module is disturbed."""


@contextmanager
def watching(look: Callable[[nn.Module], None]) -> Iterator[None]:
    """Shows each module that this thread calls in a block to `look`, before the module runs.

    A module that is called several times is shown several times. What is called as
    ``module.forward(x)``, or used without a call, is not seen:
    :func:`~pyro_mivae.isolation.roots_of` is for that.

    Args:
        look: Function of the module, called before its own hooks and its forward.
    """
    thread = threading.get_ident()

    def hook(module: nn.Module, inputs: Any) -> None:
        # A graph that torch.compile makes inside of the block must not hold the hook.
        if not torch.compiler.is_compiling() and threading.get_ident() == thread:
            look(module)

    if "torch._dynamo" in sys.modules and not any(_is_ours(f) for f in warnings.filters):
        warnings.filterwarnings("ignore", message=_OF_COMPILED, category=UserWarning)
    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _is_ours(entry: tuple[Any, ...]) -> bool:
    return entry[0] == "ignore" and getattr(entry[1], "pattern", None) == _OF_COMPILED


class Visits:
    """Modules with all of their parts, each visited once.

    Args:
        visit: Function that is called with each module.
    """

    def __init__(self, visit: Callable[[nn.Module], None]) -> None:
        self._visit = visit
        self._visited: dict[int, nn.Module] = {}

    def __call__(self, root: nn.Module) -> None:
        """Visits a module and its parts, unless the module was visited."""
        if id(root) in self._visited:
            return
        for module in list(root.modules()):
            if id(module) not in self._visited:
                self._visited[id(module)] = module
                self._visit(module)
