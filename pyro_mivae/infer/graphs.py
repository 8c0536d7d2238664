"""What a compiled ELBO consists of: its graphs, their key, and a loss that brings its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.infer.capture import modules_of


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
        leaves: Parameters whose gradients it gives.
        names: Of the terms, its last outputs.
        has_gradient: For each of the leaves, and of the arguments that want one.
    """

    shapes: list[tuple[int, ...]]
    nodes: int
    capture_seconds: float
    compile_seconds: float = 0.0
    run: Callable[..., tuple[Tensor, ...]] = field(repr=False, default=tuple)
    lifted: list[Tensor] = field(repr=False, default_factory=list)
    leaves: list[Tensor] = field(repr=False, default_factory=list)
    names: list[str] = field(repr=False, default_factory=list)
    has_gradient: list[bool] = field(repr=False, default_factory=list)


class StepFunction(torch.autograd.Function):
    """A loss whose gradients were computed together with it."""

    @staticmethod
    def forward(
        ctx: Any, values: tuple[Tensor, ...], has_gradient: list[bool], *leaves: Tensor
    ) -> Tensor:
        """Returns the loss, the first of the values; its gradients follow it."""
        found = iter(values[1:])
        ctx.gradients = [next(found) if has else None for has in has_gradient]
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
            scaled = iter(torch._foreach_mul([g for g in gradients if g is not None], grad))
            gradients = [g if g is None else next(scaled) for g in gradients]
        return None, None, *gradients


def backend_options(backend: Any, mode: str | None, eager_random: bool) -> dict[str, Any]:
    """The options of :func:`torch.compile`, see :func:`~pyro_mivae.infer.compile_elbo`."""
    if backend != "inductor":
        if mode is not None:
            raise ValueError(f"mode={mode!r} is for the backend 'inductor', found {backend!r}")
        return {}
    import torch._inductor  # not before it is needed: a second of imports

    options = dict(torch._inductor.list_mode_options(mode)) if mode else {}
    if eager_random:
        options["fallback_random"] = True
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
