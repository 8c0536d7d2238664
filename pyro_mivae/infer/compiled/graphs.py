"""What a compiled ELBO consists of: its graphs, their key, and a loss that brings its gradients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.compiled.capture import (
    NotCapturedError,
    capture,
    leaves_of,
    repeatable,
    unchecked,
    validation_kept,
)
from pyro_mivae.isolation import modules_of

ENUM_READS = (
    "TraceEnum_ELBO reads values of tensors while it sums sites out. Where few values are "
    "possible, sum them in the model and use Trace_ELBO or TraceMeanField_ELBO"
)
MANY = 600
"""Operations of a graph whose compilation is announced; an MLP pair has 450."""
SECONDS = 0.1
"""Time that Inductor takes for an operation: 75 s for 777 of a GRU, one core of a CPU."""

logger = logging.getLogger(__name__)


@dataclass
class Compiled:
    """One graph of a :class:`CompiledELBO`.

    Attributes:
        shapes: Shapes of the tensors among the arguments.
        nodes: Operations that were captured.
        capture_seconds: Time that the capture took.
        compile_seconds: Time of the first call, in which the backend compiles (or finds the
            graph in its cache on disk).
        run: The compiled graph.
        lifted: Its last inputs.
        leaves: Parameters whose gradients it gives, after the loss.
        names: Names of the terms, which follow.
    """

    nodes: int
    capture_seconds: float
    compile_seconds: float = 0.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    run: Callable[..., tuple[Tensor, ...]] = field(repr=False, default=tuple)
    lifted: list[Tensor] = field(repr=False, default_factory=list)
    leaves: list[Tensor] = field(repr=False, default_factory=list)
    names: list[str] = field(repr=False, default_factory=list)

    def __call__(self, tensors: list[Tensor], device: torch.device) -> tuple[Tensor, ...]:
        """Runs the graph: (loss, its gradients, terms, draws of no use)."""
        # It holds its casts, and nothing of it is for autograd.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return self.run(*[tensor.detach() for tensor in tensors], *self.lifted)


class StepFunction(torch.autograd.Function):
    """A loss whose gradients were computed together with it."""

    @staticmethod
    def forward(ctx: Any, values: tuple[Tensor, ...], *leaves: Tensor) -> Tensor:
        """Returns the loss, the first of the values; the gradients of the leaves follow it."""
        ctx.gradients = values[1:]
        return values[0].view_as(values[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Hands out the gradients."""
        gradients = ctx.gradients
        if gradients is None:
            raise RuntimeError(
                "the gradients of this loss are computed with its value and given once: call it "
                "again for another backward pass (retain_graph has no effect)"
            )
        ctx.gradients = None
        # On a GPU the value would have to be waited for.
        if grad.device.type != "cpu" or grad.item() != 1:
            gradients = torch._foreach_mul(list(gradients), grad)
        return None, *gradients


class Scalars:
    """lambda, beta and the scales as inputs of a graph; a new tensor only for a new number."""

    def __init__(self) -> None:
        self._made: dict[Any, Tensor] = {}

    def __call__(self, values: tuple[Any, ...], device: torch.device) -> list[Tensor]:
        """Tensors of shape ``()`` on the device."""
        inputs = []
        for slot, value in enumerate(values):
            if isinstance(value, Tensor):
                inputs.append(value.detach().to(device))
                continue
            # Never one tensor for two of them: the graph would take them for one input.
            key = (slot, value, device)
            if key not in self._made:
                if len(self._made) > 100:  # schedules never end
                    self._made.clear()
                dtype = torch.float32 if device.type == "mps" else torch.float64
                self._made[key] = torch.full((), value, dtype=dtype, device=device)
            inputs.append(self._made[key])
        return inputs


def make_graph(
    step: Callable[..., tuple[Tensor, ...]],
    example: list[Tensor],
    *,
    parts: tuple[Any, ...],
    device: torch.device,
    keep_draws: bool,
    backend: Any,
    options: dict[str, Any],
) -> Compiled:
    """Captures a function of tensors and compiles it.

    Args:
        step: The function, see :func:`step_function`.
        example: Its inputs.
        parts: Model and guide, whose buffers are left alone.
        device: The one to compute on.
        keep_draws: See :func:`~pyro_mivae.infer.compiled.capture.capture`.
        backend: Backend of :func:`torch.compile`.
        options: Options of the backend.

    Raises:
        NotCapturedError: If it can't be captured or compiled.
    """
    started = time.perf_counter()
    with repeatable(parts, device), pyro.validation_enabled(False), unchecked():
        captured_graph = capture(step, example, keep_draws=keep_draws)
    captured = time.perf_counter()
    nodes = sum(node.op == "call_function" for node in captured_graph.module.graph.nodes)
    if backend == "inductor" and nodes > MANY:
        logger.warning(
            "the graph of this model and guide has %d operations: compiling it takes about %.0f "
            "seconds, unless it is in Inductor's cache. Loops over time, as those of recurrent "
            "networks, are recorded step by step",
            nodes,
            nodes * SECONDS,
        )
    # Not the module itself: hooks on all modules would see it.
    forward = captured_graph.module.forward
    with validation_kept():
        run = torch.compile(forward, backend=backend, dynamic=False, options=options or None)
    graph = Compiled(
        nodes=nodes, capture_seconds=captured - started, run=run, lifted=captured_graph.lifted
    )
    try:
        with validation_kept(), repeatable(parts, device):
            graph(example, device)
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise NotCapturedError(
            f"the backend can't compile the graph ({type(error).__name__}: {text}); Inductor "
            "needs a C++ compiler on a CPU and Triton on a GPU"
        ) from error
    graph.compile_seconds = time.perf_counter() - captured
    return graph


def step_function(
    evaluate: Callable[..., dict[str, Tensor]],
    leaves: list[Any],
    spec: Any,
    places: list[int],
    trained: list[Tensor],
    device: torch.device,
) -> Callable[..., tuple[Tensor, ...]]:
    """Makes the function of tensors that is captured.

    Args:
        evaluate: ``(args, kwargs, settings) -> terms``, with the settings as a list of tensors.
        leaves: The arguments, flat.
        spec: How they were nested.
        places: Which of the leaves are tensors.
        trained: Is filled with the parameters that have a gradient.
        device: The one to compute on.

    Returns:
        ``(*tensors, *settings, scale) -> (loss * scale, *gradients of it, *terms)``, detached.
    """
    kind = device.type
    amp, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        data, settings, scale = tensors[: len(places)], tensors[len(places) : -1], tensors[-1]
        arguments = list(leaves)
        for place, tensor in zip(places, data, strict=True):
            arguments[place] = tensor
        args, kwargs = pytree.tree_unflatten(arguments, spec)
        with torch.autocast(kind, dtype, amp, cache_enabled=False):  # a cache would outlive this
            terms = evaluate(args, kwargs, settings)
        scaled = terms["loss"] * scale.to(terms["loss"].dtype)
        gradients: list[Tensor] = []
        if scaled.requires_grad:
            inputs = {id(tensor) for tensor in data}
            trained[:] = [leaf for leaf in leaves_of(scaled) if id(leaf) not in inputs]
            wanted = [*trained, *(tensor for tensor in data if tensor.requires_grad)]
            gradients += torch.autograd.grad(scaled, wanted, allow_unused=True)
            for i, leaf in enumerate(wanted):  # data that the loss does not read
                gradients[i] = torch.zeros_like(leaf) if gradients[i] is None else gradients[i]
        values = [scaled, *gradients, *terms.values()]
        return tuple(value.detach() for value in values)

    return step


def backend_options(backend: Any, mode: str | None, eager_random: bool) -> dict[str, Any]:
    """Chooses options of :func:`torch.compile`, see :func:`~pyro_mivae.infer.compile_elbo`."""
    if backend != "inductor":
        if mode is not None:
            raise ValueError(f"mode={mode!r} is for the backend 'inductor', found {backend!r}")
        return {}
    import torch._inductor  # not before it is needed: a second of imports

    options = dict(torch._inductor.list_mode_options(mode)) if mode else {}
    if eager_random:
        # The same operations, in the same order.
        options |= {"fallback_random": True, "reorder_for_locality": False}
    return options


def signature(leaves: list[Any]) -> list[Any]:
    """Lists what a graph depends on in the arguments: layouts, shared storage, other values."""
    storages: list[int] = []
    signature: list[Any] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            signature.append((type(leaf), leaf))
            continue
        storage = leaf.untyped_storage()._cdata
        first = storages.index(storage) if storage in storages else len(storages)
        storages.append(storage)
        offset = leaf.storage_offset() if storages.count(storage) > 1 else 0
        layout = (tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device)
        signature.append((*layout, leaf.requires_grad, first, offset))
    return signature


def device_of(leaves: list[Any], parts: tuple[Any, ...]) -> torch.device:
    """Returns the device of the parameters or, without modules, of the first tensor."""
    tensors: list[Tensor] = []
    for module in modules_of(parts):
        tensors += module.parameters(recurse=False)
    tensors += [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return tensors[0].device if tensors else torch.device("cpu")
