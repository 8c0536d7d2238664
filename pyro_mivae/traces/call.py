"""A call of a model/guide pair: the two programs and the arguments of both."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro import poutine
from torch import nn
from torch.utils import _pytree as pytree

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def parameters_of(fn: Any) -> Mapping[str, inspect.Parameter]:
    """Names the parameters of a model or guide; empty where there is no signature."""
    fn = poutine.unwrap(fn)
    target = fn.forward if isinstance(fn, nn.Module) else fn
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def named_arguments(fn: Any, args: Args, kwargs: Mapping[str, Any]) -> dict[str | int, Any]:
    """Returns the arguments by the parameters' names, those of ``*args`` by their positions."""
    parameters = parameters_of(fn).values()
    single = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names: list[str | int] = [p.name for p in parameters if p.kind in single]
    names += range(len(names), len(args))
    named = dict(zip(names, args, strict=False))
    for name, argument in kwargs.items():
        named[name] = argument
    return named


@dataclass(frozen=True, eq=False)
class Call:
    """A model, its guide, and the arguments that both are called with.

    Attributes:
        model: A Pyro model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
    """

    model: Any
    guide: Any
    args: Args = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def with_arguments(self, args: Args, kwargs: Mapping[str, Any]) -> Call:
        """Returns the same pair called with other arguments."""
        return dataclasses.replace(self, args=args, kwargs=kwargs)

    def names_of_leaves(self) -> list[str]:
        """Names the leaves of the arguments, after the guide's parameters, for messages."""
        named = named_arguments(self.guide, self.args, self.kwargs)
        return [
            f"number {name}" if isinstance(name, int) else f"'{name}'"
            for name, argument in named.items()
            for _ in pytree.tree_leaves(argument)
        ]

    def replaced_arguments(self, args: Args, kwargs: Kwargs) -> list[str]:
        """Names the arguments that hold another object in other arguments of the same nesting."""
        originals, others = (
            pytree.tree_leaves(part) for part in ((self.args, dict(self.kwargs)), (args, kwargs))
        )
        pairs = zip(self.names_of_leaves(), originals, others, strict=False)
        return list(dict.fromkeys(name for name, one, other in pairs if other is not one))

    def trace_guide(self) -> poutine.Trace:
        """Runs the guide and returns its trace."""
        return poutine.trace(self.guide).get_trace(*self.args, **self.kwargs)
