"""What a compiled ELBO consists of: its graphs, their key, and a loss that brings its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.capture import leaves_of, modules_of


@dataclass
class Compiled:
    """One graph of a :class:`CompiledELBO`.

    Attributes:
        shapes: Of the tensors among the arguments.
        nodes: Operations that were captured.
        capture_seconds: Time that the capture took.
        compile_seconds: Time of the first call, in which the backend compiles (or finds the
            graph in its cache on disk).
        run: The compiled graph.
        lifted: Its last inputs.
        leaves: Parameters whose gradients it gives, after the loss.
        names: Of the terms, which follow.
    """

    shapes: list[tuple[int, ...]]
    nodes: int
    capture_seconds: float
    compile_seconds: float = 0.0
    run: Callable[..., tuple[Tensor, ...]] = field(repr=False, default=tuple)
    lifted: list[Tensor] = field(repr=False, default_factory=list)
    leaves: list[Tensor] = field(repr=False, default_factory=list)
    names: list[str] = field(repr=False, default_factory=list)


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
                "the gradients of a compiled ELBO are computed with its value and given once: "
                "call it again for another backward pass (retain_graph has no effect)"
            )
        ctx.gradients = None
        # On a GPU the value would have to be waited for.
        if grad.device.type != "cpu" or grad.item() != 1:
            gradients = torch._foreach_mul(list(gradients), grad)
        return None, *gradients


def step_function(
    evaluate: Callable[..., dict[str, Tensor]],
    leaves: list[Any],
    spec: Any,
    places: list[int],
    trained: list[Tensor],
    device: torch.device,
) -> Callable[..., tuple[Tensor, ...]]:
    """The function of tensors that is captured.

    Args:
        evaluate: ``(args, kwargs, mi_weight, kl_weight) -> terms``.
        leaves: The arguments, flat.
        spec: How they were nested.
        places: Which of the leaves are tensors.
        trained: Is filled with the parameters that have a gradient.
        device: The one to compute on.

    Returns:
        ``(*tensors, mi_weight, kl_weight, scale) -> (loss * scale, *gradients of it, *terms)``,
        detached.
    """
    kind = device.type
    amp, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        *data, mi_weight, kl_weight, scale = tensors
        arguments = list(leaves)
        for place, tensor in zip(places, data, strict=True):
            arguments[place] = tensor
        args, kwargs = pytree.tree_unflatten(arguments, spec)
        with torch.autocast(kind, dtype, amp, cache_enabled=False):  # a cache would outlive this
            terms = evaluate(args, kwargs, mi_weight, kl_weight)
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
    """The options of :func:`torch.compile`, see :func:`~pyro_mivae.infer.compile_elbo`."""
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
    """What a graph depends on in the arguments: layout and sharing of tensors, other values."""
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
    """The device of the parameters or, without modules, of the first tensor."""
    tensors: list[Tensor] = []
    for module in modules_of(parts):
        tensors += module.parameters(recurse=False)
    tensors += [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return tensors[0].device if tensors else torch.device("cpu")
