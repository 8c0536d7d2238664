"""What a compiled ELBO consists of: its graphs, their key, and a loss that brings its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.compiled.capture import NotCapturedError, leaves_of

_ENUM_READS = (
    "TraceEnum_ELBO reads values of tensors while it sums sites out. Where few values are "
    "possible, sum them in the model and use Trace_ELBO or TraceMeanField_ELBO"
)


def why_not(elbo: Any, error: NotCapturedError) -> str:
    """Says why the step of an objective can't be recorded, and what to do where that is known."""
    reads = type(getattr(elbo, "base", None)) is TraceEnum_ELBO
    return _ENUM_READS if reads else str(error)


@dataclass
class Compiled:
    """One graph of a :class:`CompiledELBO`.

    Attributes:
        shapes: Shapes of the tensors among the arguments.
        nodes: Operations that were captured.
        capture_seconds: Processor time that the capture took: no other process changes it.
        compile_seconds: Time of the first call, in which the backend compiles (or finds the
            graph in its cache on disk).
        run: The compiled graph; that of the recorded operations where nothing compiles it.
        recorded: The recorded operations, one by one.
        step: The function that was recorded, in eager mode.
        lifted: The last inputs of the graph.
        leaves: Parameters whose gradients it gives, after the loss.
        names: Names of the terms, which follow.
    """

    nodes: int
    capture_seconds: float
    compile_seconds: float = 0.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    run: Callable[..., tuple[Tensor, ...]] = field(repr=False, default=tuple)
    recorded: Callable[..., tuple[Tensor, ...]] = field(repr=False, default=tuple)
    step: Callable[..., tuple[Tensor, ...]] | None = field(repr=False, default=None)
    lifted: list[Tensor] = field(repr=False, default_factory=list)
    leaves: list[Tensor] = field(repr=False, default_factory=list)
    names: list[str] = field(repr=False, default_factory=list)

    def __call__(self, tensors: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
        """Runs the graph: (loss, its gradients, terms, draws of no use)."""
        return self._call(self.run, tensors, device)

    def replay(self, tensors: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
        """Runs the recorded operations, whatever was compiled of them."""
        return self._call(self.recorded, tensors, device)

    def _call(
        self,
        run: Callable[..., tuple[Tensor, ...]],
        tensors: Sequence[Tensor],
        device: torch.device,
    ) -> tuple[Tensor, ...]:
        # The graph holds its casts, and nothing of it is for autograd.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return run(*[tensor.detach() for tensor in tensors], *self.lifted)

    @property
    def compiled(self) -> bool:
        """Whether a backend has compiled the recorded operations."""
        return self.run is not self.recorded


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
