"""The step of all copies as one graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_mivae.infer.compiled.capture import NotCapturedError, validation_kept
from pyro_mivae.infer.compiled.graphs import backend_options
from pyro_mivae.training.many.draws import Draws
from pyro_mivae.training.many.recording import Recorded


@dataclass(frozen=True)
class Argument:
    """A tensor that a step takes.

    Attributes:
        tensor: The tensor, of all copies or of each.
        stacked: Whether its first dimension is that of the copies.
    """

    tensor: Tensor
    stacked: bool


@dataclass
class StackedGraph:
    """The step of all copies.

    Attributes:
        run: Takes data, settings and scale, then `lifted`, then the first draws; returns the
            losses, gradients and terms, each with a dimension of copies in front.
        lifted: Parameters, buffers and other tensors.
        trained: Stacked parameters whose gradients it gives.
        names: Names of the terms.
        draws: The draws.
    """

    run: Callable[..., tuple[Tensor, ...]]
    lifted: list[Tensor]
    trained: list[Tensor]
    names: list[str]
    draws: Draws

    def __call__(
        self, inputs: list[Tensor], device: torch.device
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Computes the gradients, in the order of `trained`, and the terms by name."""
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            values = self.run(*inputs, *self.lifted, *self.draws.first())
        count = 1 + len(self.trained)
        return list(values[1:count]), dict(zip(self.names, values[count:], strict=True))


def batch_graph(
    recorded: Recorded,
    inputs: Sequence[Argument],
    lifted: Sequence[Argument],
    draws: Draws,
    *,
    compile: bool,  # noqa: A002 -- torch's word
) -> Callable[..., tuple[Tensor, ...]]:
    """Makes the step of all copies from that of one.

    Args:
        recorded: The step of one copy.
        inputs: Data, settings and scale.
        lifted: Parameters, buffers and other tensors of the graph.
        draws: The draws, and the generators of all copies.
        compile: Whether Inductor compiles the result; else its operations are called in turn.

    Raises:
        NotCapturedError: If an operation can't be done for several copies at once.
    """
    every = [draw for group in draws.groups for draw in group]
    copies = len(draws.streams.holders)
    arguments = [*inputs, *lifted, *(Argument(d.empty(copies), True) for d in every)]
    step = vmap(
        recorded.module.forward,
        in_dims=tuple(0 if argument.stacked else None for argument in arguments),
        randomness="error",
    )
    outputs = recorded.outputs

    def stacked(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = step(*tensors)
        # As the parameters lie in memory: an optimiser takes both number by number.
        return (*(value.contiguous() for value in values[:outputs]), *values[outputs:])

    try:
        module = make_fx(stacked, tracing_mode="fake")(*(a.tensor for a in arguments))
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise NotCapturedError(
            f"a step of it can't be done for several copies at once ({type(error).__name__}: "
            f"{text})"
        ) from error
    first = len(inputs) + len(lifted) + len(draws.groups[0])
    _draw_inside(module.graph, draws, first, outputs)
    forward = fx.GraphModule(module, module.graph).forward
    if not compile:
        return forward
    with validation_kept():
        options = backend_options("inductor", None, True)
        return torch.compile(forward, dynamic=False, options=options)


def _draw_inside(graph: fx.Graph, draws: Draws, first: int, outputs: int) -> None:
    """Puts the draws that depend on computed values where these are known.

    Args:
        graph: The graph, whose last inputs are the draws and last outputs the values; changed.
        draws: The groups; those behind the first are put into the graph.
        first: Number of inputs before the draws of the second group.
        outputs: Number of outputs before the values.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"][first:]
    [output] = [node for node in graph.nodes if node.op == "output"]
    values = list(output.args[0][outputs:])
    output.args = (tuple(output.args[0][:outputs]),)
    anchor: fx.Node = output
    for number in range(len(draws.groups) - 1, 0, -1):
        group = draws.groups[number]
        drawn, inputs = inputs[-len(group) :], inputs[: -len(group)]
        count = group[0].values
        needed, values = values[-count:], values[:-count]
        place = {node: i for i, node in enumerate(graph.nodes)}
        anchor = min([anchor, *(user for node in drawn for user in node.users)], key=place.get)  # type: ignore[arg-type]
        # What only vmap's end has moved behind the first use: views that put the copies in front.
        late = _sources(needed, place, place[anchor])
        for node in late:
            anchor.prepend(node)
        with graph.inserting_before(anchor):
            call = graph.call_function(draws.group(number), tuple(needed))
            for i, node in enumerate(drawn):
                item = graph.call_function(operator.getitem, (call, i))
                node.replace_all_uses_with(item)
        for node in drawn:
            graph.erase_node(node)
        anchor = late[0] if late else call
    graph.eliminate_dead_code()
    graph.lint()


def _sources(nodes: Sequence[fx.Node], place: dict[fx.Node, int], least: int) -> list[fx.Node]:
    """Lists what nodes are computed from, with themselves, from a place on, in order."""
    sources: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in sources and place[node] >= least:
            sources.add(node)
            waiting += node.all_input_nodes
    return sorted(sources, key=lambda node: place[node])
