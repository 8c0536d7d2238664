"""A call of a model/guide pair: the two programs and the arguments of both."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro import poutine
from torch.utils import _pytree as pytree

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


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
        try:
            target = poutine.unwrap(self.guide)
            target = getattr(target, "forward", target)
            parameters = list(inspect.signature(target).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        single = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in parameters if p.kind in single]
        leaves = []
        for place, argument in enumerate(self.args):
            name = f"'{names[place]}'" if place < len(names) else f"number {place}"
            leaves += [name] * len(pytree.tree_leaves(argument))
        for key, argument in self.kwargs.items():
            leaves += [f"'{key}'"] * len(pytree.tree_leaves(argument))
        return leaves

    def trace_guide(self) -> poutine.Trace:
        """Runs the guide and returns its trace."""
        return poutine.trace(self.guide).get_trace(*self.args, **self.kwargs)
