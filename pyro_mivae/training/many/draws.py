"""The random draws of a captured graph as inputs, made for each copy from its own generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from pyro_mivae.infer.compiled.capture import NotCapturedError, is_draw
from pyro_mivae.isolation import random_state, restore_random_state

_SHAPE_ONLY = ("rand_like", "randn_like", "randint_like", "bernoulli.p")
"""Operations whose first argument gives the shape alone; so does that of all in-place draws."""
_EMPTY = ("empty_like", "new_empty", "new_empty_strided")
"""Operations that make memory of another tensor's kind."""


@dataclass(frozen=True)
class _Blank:
    """Stands for an argument that only gives shape and type."""


@dataclass(frozen=True)
class _Value:
    """Stands for an argument whose values count, by its number among those of the draw."""

    number: int


@dataclass(frozen=True)
class Draw:
    """One random operation of a step.

    Attributes:
        target: The operation.
        args: Its positional arguments, with stand-ins for tensors.
        kwargs: Its keyword arguments.
        like: A tensor without memory that has the result's shape, strides and type.
        device: The device to draw on.
        values: Number of tensors whose values the draw depends on.
    """

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    like: Tensor
    device: torch.device
    values: int

    def empty(self, copies: int) -> Tensor:
        """Makes the memory of the draws of all copies, ``(copies, *shape)``; zeros."""
        shape = (copies, *self.like.shape)
        return torch.zeros(shape, dtype=self.like.dtype, device=self.device)

    def make(self, values: Sequence[Tensor], row: Tensor) -> None:
        """Draws into the row of a copy, from torch's generator of the device."""
        like = self.like
        blank = row
        if like.stride() != row.stride():
            blank = torch.empty_strided(
                like.shape, like.stride(), dtype=like.dtype, device=self.device
            )

        def filled(value: Any) -> Any:
            if isinstance(value, _Value):
                return values[value.number]
            return blank if isinstance(value, _Blank) else value

        args = [filled(value) for value in self.args]
        kwargs = {name: filled(value) for name, value in self.kwargs.items()}
        result = self.target(*args, **kwargs)
        if result is not row:
            row.copy_(result)


class Holder(Protocol):
    """A copy, which keeps the state of its generators.

    Attributes:
        random: State, as :func:`~pyro_mivae.isolation.random_state` gives it.
    """

    random: dict[str, Tensor]


class Streams:
    """The random states of the copies, each as the copy's own training would have it.

    Args:
        holders: The copies.
        device: Device of the training.
    """

    def __init__(self, holders: Sequence[Holder], device: torch.device) -> None:
        self.holders, self.device = holders, device

    @contextmanager
    def of(self, copy: int) -> Iterator[None]:
        """Runs a block in which torch's generators are those of a copy."""
        holder = self.holders[copy]
        restore_random_state(holder.random, self.device)
        yield
        holder.random = random_state(self.device)


@dataclass
class Draws:
    """The draws of a graph in their order.

    A group is drawn at one time. The first needs nothing that the step computes and is drawn
    before it. Each other starts with a draw that depends on computed values, and is drawn where
    they are known.

    Attributes:
        groups: The draws of each group.
        streams: The generators of the copies.
        active: Copies that draw; the others have zeros.
    """

    groups: list[list[Draw]]
    streams: Streams
    active: list[int]

    def first(self) -> list[Tensor]:
        """Makes the draws of the first group, each ``(copies, *shape)``."""
        return self._made(self.groups[0], [])

    def group(self, number: int) -> Callable[..., tuple[Tensor, ...]]:
        """Gives the function that makes the draws of a group from the stacked values."""

        def draw_for_each_copy(*values: Tensor) -> tuple[Tensor, ...]:
            return tuple(self._made(self.groups[number], values))

        # Inductor compiles what lies between.
        disabled: Callable[..., tuple[Tensor, ...]] = torch.compiler.disable(draw_for_each_copy)  # type: ignore[no-untyped-call]
        return disabled

    def _made(self, draws: list[Draw], values: Sequence[Tensor]) -> list[Tensor]:
        stacked = [draw.empty(len(self.streams.holders)) for draw in draws]
        for copy in self.active if draws else ():
            own = [_usable(value[copy]) for value in values]
            with self.streams.of(copy):
                for draw, rows in zip(draws, stacked, strict=True):
                    draw.make(own[: draw.values], rows[copy])
        return stacked


def _usable(value: Tensor) -> Tensor:
    """The value with ones for what is not finite: a copy's loss is NaN then, which is read later.

    Torch would refuse the draw, and on a GPU end the process, with the other copies.
    """
    if not value.is_floating_point():
        return value
    return torch.nan_to_num(value, nan=1.0, posinf=1.0, neginf=1.0)


def lift_draws(graph: fx.Graph, outputs: int) -> list[list[Draw]]:
    """Makes the draws of a graph its last inputs, and the values they depend on its last outputs.

    Args:
        graph: A captured graph, which is changed.
        outputs: Number of outputs to keep; unused draws behind them are dropped.

    Returns:
        The groups of draws, in order; the first may be empty.

    Raises:
        NotCapturedError: If a random operation gives other than one tensor.
    """
    groups: list[list[Draw]] = [[]]
    needed: list[fx.Node] = []
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for number, node in enumerate([node for node in graph.nodes if is_draw(node)]):
        draw, values = _read(node)
        if values:
            groups.append([])
        groups[-1].append(draw)
        needed += values
        with graph.inserting_after(last):
            last = graph.placeholder(f"draw_{number}")
        last.meta = dict(node.meta)
        _replace(graph, node, last)
    [output] = [node for node in graph.nodes if node.op == "output"]
    output.args = ((*output.args[0][:outputs], *needed),)
    graph.eliminate_dead_code()
    return groups


def _read(node: fx.Node) -> tuple[Draw, list[fx.Node]]:
    """A draw, and the nodes whose values it depends on."""
    target: Any = node.target
    result = node.meta.get("val")
    if not isinstance(result, Tensor):
        raise NotCapturedError(f"{target} draws more than one tensor at a time")
    values: list[fx.Node] = []
    shape_only = target._schema.is_mutable or str(target).removeprefix("aten.").startswith(
        _SHAPE_ONLY
    )

    def stand_in(argument: Any) -> Any:
        if shape_only and argument is node.args[0]:
            return _Blank()
        if not isinstance(argument, fx.Node):
            return argument
        if argument not in values:
            values.append(argument)
        return _Value(values.index(argument))

    args = tuple(stand_in(argument) for argument in node.args)
    kwargs = {name: stand_in(argument) for name, argument in node.kwargs.items()}
    meta = torch.empty_strided(result.shape, result.stride(), dtype=result.dtype, device="meta")
    return Draw(target, args, kwargs, meta, result.device, len(values)), values


def _replace(graph: fx.Graph, node: fx.Node, drawn: fx.Node) -> None:
    """Puts an input in the place of a draw; of one into a tensor in use, a copy into that."""
    target: Any = node.target
    if target._schema.is_mutable:
        into: Any = node.args[0]
        name = str(into.target).removeprefix("aten.").partition(".")[0]
        fresh = name in _EMPTY or (into.op == "call_function" and not into.all_input_nodes)
        if not fresh or len(into.users) > 1:
            with graph.inserting_before(node):
                copied = graph.call_function(torch.ops.aten.copy_.default, (into, drawn))
            copied.meta = dict(node.meta)
            drawn = copied
    node.replace_all_uses_with(drawn)
    graph.erase_node(node)
