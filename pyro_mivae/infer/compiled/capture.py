"""Capturing a function of tensors, gradients included, as one graph without hidden inputs."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_mivae
from pyro_mivae.isolation import modules_of, outermost, undisturbed, watching

_READS = (
    "DataDependentOutputException",
    "GuardOnDataDependentSymNode",
    "PendingUnbackedSymbolNotFound",
)
"""What PyTorch raises where a value is needed; the classes moved between its versions."""


_NOT_THE_PROGRAMS = tuple(
    os.path.dirname(str(package.__file__)) + os.sep for package in (torch, pyro, pyro_mivae)
)
"""Where the frames of a traceback lie that are no part of a model or guide."""


_ALIASES = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)
"""Operations that give their argument itself."""


class NotCapturedError(RuntimeError):
    """A function can't be captured; the message says why."""


@dataclass
class Graph:
    """A captured function.

    Attributes:
        module: Takes the arguments, then `lifted`; returns a flat tuple.
        lifted: Parameters, buffers and other tensors that the function read from elsewhere,
            the very objects: what an optimiser changes in place is seen.
    """

    module: fx.GraphModule
    lifted: list[Tensor]


def capture(
    function: Callable[..., tuple[Tensor, ...]],
    example: Sequence[Tensor],
    *,
    keep_draws: bool = False,
) -> Graph:
    """Records what `function` does with tensors, below autograd.

    Nothing is computed and no random number drawn: the tensors stand for their shapes. What
    depends on their values can't be recorded.

    Args:
        function: Takes the tensors, returns a flat tuple of tensors.
        example: Tensors of the shapes to record.
        keep_draws: Whether random numbers that nothing depends on are drawn all the same, as
            further outputs: those after them are then the same as without a graph.

    Raises:
        NotCapturedError: If the function reads a value, has a shape that depends on one, or uses
            an operation without a rule for shapes.
    """
    try:
        recorded = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    except Exception as error:
        raise NotCapturedError(_reason(error)) from error
    if keep_draws:
        _keep_draws(recorded.graph)
    return _lift(recorded)


@contextmanager
def unchecked() -> Iterator[None]:
    """Switches the validation of distributions off, of those that were built before, too.

    A distribution that was expanded says for itself that it validates, whatever Pyro's settings.
    Such an object stays as it is: the class overrules it during the block.
    """
    cls: Any = torch.distributions.Distribution
    before = cls._validate_args

    def keep(self: Any, value: Any) -> None:
        vars(self)["_validate_args"] = value

    cls._validate_args = property(lambda self: False, keep)
    try:
        yield
    finally:
        cls._validate_args = before


@contextmanager
def validation_kept() -> Iterator[None]:
    """Keeps torch's own setting of validation: the first ``torch.compile`` of a process drops it.

    Dynamo sets ``Distribution.set_default_validate_args(False)`` as it starts, and Pyro, which has
    a setting of its own, does not notice.
    """
    before = torch.distributions.Distribution._validate_args
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def _reason(error: Exception) -> str:
    """Says why a program can't be captured, with its line if the traceback has it."""
    reason = _cause(error)
    lines = [
        f"{frame.filename}, line {frame.lineno}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_THE_PROGRAMS) and frame.filename[:1] != "<"
    ]
    return f"{reason} ({lines[-1]})" if lines else reason


def _cause(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    kind = type(error).__name__
    if "ProvenanceTensor" in text:
        return "TraceGraph_ELBO follows the dependencies of draws, which can't be recorded"
    if kind in _READS or "_local_scalar_dense" in str(error):
        means = "the program depends on the value of a tensor (if, .item(), int(), float())"
        return f"{means}: {text}" if text else means
    if kind == "DynamicOutputShapeException":
        return f"the shape of a tensor depends on the values of another: {text}"
    return f"{kind}: {text}" if text else kind


def _keep_draws(graph: fx.Graph) -> None:
    """Makes the random numbers that nothing depends on outputs."""
    [output] = [node for node in graph.nodes if node.op == "output"]
    live: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting += node.all_input_nodes
    draws = [node for node in graph.nodes if is_draw(node) and node not in live]
    output.args = ((*output.args[0], *draws),)


def is_draw(node: fx.Node) -> bool:
    """Tells whether an operation of a graph takes random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def leaves_of(*tensors: Tensor) -> list[Tensor]:
    """Lists the tensors that get a gradient from others: parameters, wherever they are from."""
    own = [tensor for tensor in tensors if tensor.requires_grad and tensor.is_leaf]
    leaves: dict[int, Tensor] = {id(tensor): tensor for tensor in own}
    seen: set[Any] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves[id(variable)] = variable
        waiting += [following for following, _ in node.next_functions]
    return list(leaves.values())


def _lift(module: fx.GraphModule) -> Graph:
    """Makes the tensors that a graph holds as attributes its last arguments."""
    graph = module.graph
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    lifted: list[Tensor] = []
    placed: dict[int, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        tensor = getattr(module, str(node.target))
        if id(tensor) not in placed:
            with graph.inserting_after(last):
                last = graph.placeholder(str(node.target))
            last.meta = dict(node.meta)
            placed[id(tensor)] = last
            lifted.append(tensor)
        node.replace_all_uses_with(placed[id(tensor)])
        graph.erase_node(node)
    for node in list(graph.nodes):
        if node.target in _ALIASES:  # nothing is for autograd below it
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    return Graph(fx.GraphModule(nn.Module(), graph), lifted)


class Reliance:
    """What a captured graph relies on besides its arguments, to notice when it changes.

    Args:
        parts: Model and guide, and the modules that a run of them has called.
        used: Names of the parameters that they read from Pyro's store.
    """

    def __init__(self, parts: Sequence[Any], used: Sequence[str]) -> None:
        self.modules = modules_of(parts)
        self._slots: list[tuple[dict[str, Any], str, Any]] = []
        self._tables: list[tuple[dict[str, Any], int]] = []
        for module in self.modules:
            tables: list[Any] = [module._modules, module._parameters, module._buffers]
            tables += [module._forward_hooks, module._forward_pre_hooks]
            if isinstance(module, PyroModule):
                tables += [module._pyro_params, module._pyro_samples]
            for table in tables:
                self._tables.append((table, len(table)))
                self._slots += [(table, name, value) for name, value in table.items()]
        store = pyro.get_param_store()
        parameters = [p for m in self.modules for p in m.parameters(recurse=False)]
        self._flags = [(p, p.requires_grad) for p in parameters]
        for table in ("_params", "_constraints"):
            self._slots.append((vars(store), table, vars(store)[table]))  # clear() makes new ones
            # Not by their number: other models in the process may add to the store.
            self._slots += [(vars(store)[table], name, vars(store)[table][name]) for name in used]

    def holds(self) -> bool:
        """Tells whether everything is the object that it was."""
        return (
            all(len(table) == size for table, size in self._tables)
            and all(table.get(name, self) is value for table, name, value in self._slots)
            and all(p.requires_grad == flag for p, flag in self._flags)
        )

    def changed(self) -> list[str]:
        """Names what is another object now, for messages."""
        return [str(n) for table, n, value in self._slots if table.get(n, self) is not value]

    def modes(self) -> tuple[bool, ...]:
        """Returns the mode, training or evaluation, of each module."""
        return tuple([module.training for module in self.modules])


def uses_of(run: Callable[[], Any]) -> tuple[list[str], list[nn.Module]]:
    """Lists what a run reads from Pyro's store, by name, and the modules that it calls."""
    called: dict[int, nn.Module] = {}
    watched = watching(lambda module: called.update({id(module): module}))
    with poutine.trace(param_only=True) as trace, watched:
        run()
    names = [name for name in trace.trace.nodes if name in pyro.get_param_store()._params]
    return names, outermost(list(called.values()))


@contextmanager
def repeatable(parts: Sequence[Any], device: torch.device) -> Iterator[None]:
    """Isolates a block that a graph is to repeat.

    Raises:
        NotCapturedError: If the block replaces buffers, which a graph can't.
    """
    with undisturbed(parts, device) as replaced:
        yield
    if replaced:
        raise NotCapturedError(
            f"the program puts new tensors in the place of its buffers {replaced}, which a graph "
            "can't repeat: change them in place (copy_, add_)"
        )
