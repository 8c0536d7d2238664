"""Blocks of a program that leave random states, buffers and modes as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pyro_mivae.checks import check_seed
from pyro_mivae.isolation.reach import modules_of, remembered_roots
from pyro_mivae.isolation.seeds import mixed
from pyro_mivae.isolation.watch import Visits, watching
from pyro_mivae.page_in import page_in_log1p

_STREAM = 20_161_205
"""What the seeds of measurements are mixed with."""


def forked_random(device: torch.device) -> Any:
    """Returns a context that leaves the random states of the host and of a device as they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def undisturbed(parts: Sequence[Any], device: torch.device) -> Iterator[list[str]]:
    """Runs a block that leaves no trace in random states and buffers.

    That holds for the modules that `parts` can reach and for all others that the block calls.

    Yields:
        A list; after the block it has the names of the buffers in whose place the block had put
        new tensors.
    """
    with forked_random(device), _kept_buffers(parts) as replaced:
        yield replaced


@contextmanager
def aside(parts: Sequence[Any], device: torch.device) -> Iterator[None]:
    """Lets programs run once more: no gradient, draw, buffer or handler outside notices it.

    Unlike :func:`undisturbed`, it writes to no buffer, so that the backward pass of an earlier run
    finds what it has saved.
    """
    roots = [root for part in parts for root in remembered_roots(part)]
    with torch.no_grad(), forked_random(device), buffers_apart(roots), poutine.block():
        yield


@contextmanager
def evaluation(*parts: Any, device: torch.device, seed: int = 0) -> Iterator[None]:
    """Runs a block without gradients, its modules in evaluation mode, its random state seeded.

    The modules are those that `parts` can reach and all others that the block calls. Modes,
    buffers and the random state are afterwards as they were.

    Args:
        *parts: Models, guides, or other programs.
        device: Device whose random state is forked, besides the host's.
        seed: Seed of the block.
    """
    check_seed("seed", seed)
    modes: list[tuple[nn.Module, bool]] = []

    def visit(module: nn.Module) -> None:
        modes.append((module, module.training))
        module.training = False

    page_in_log1p()  # densities are computed for minutes in such blocks
    with torch.no_grad(), forked_random(device):
        # Another stream than that of data which were drawn under the same seed.
        torch.manual_seed(mixed(seed, _STREAM))
        try:
            with _kept_buffers(parts, visit):
                yield
        finally:
            for module, mode in reversed(modes):  # a compiled module sets that of another one
                module.training = mode


@contextmanager
def _kept_buffers(
    parts: Sequence[Any], visit: Callable[[nn.Module], None] | None = None
) -> Iterator[list[str]]:
    """Writes the old values back into the buffers that a block changes: they stay the objects."""
    kept: list[tuple[nn.Module, dict[str, tuple[Tensor, Tensor] | None]]] = []

    def keep(module: nn.Module) -> None:
        if visit is not None:
            visit(module)
        if module._buffers:
            entries = {
                name: None if tensor is None else (tensor, tensor.detach().clone())
                for name, tensor in module._buffers.items()
                if tensor is None or not is_lazy(tensor)
            }
            kept.append((module, entries))

    visits = Visits(keep)
    for module in modules_of(parts):
        visits(module)
    replaced: list[str] = []
    with watching(visits):
        try:
            yield replaced
        finally:
            for module, entries in kept:
                replaced += _restore(module._buffers, entries)


def _restore(table: Any, entries: dict[str, tuple[Tensor, Tensor] | None]) -> list[str]:
    replaced = []
    with torch.no_grad():
        for name, entry in entries.items():
            if entry is None:
                table[name] = None
                continue
            tensor, value = entry
            if table.get(name) is not tensor:
                replaced.append(name)
                table[name] = tensor
            if not torch.equal(tensor, value):
                tensor.copy_(value)
    return replaced


@contextmanager
def buffers_apart(
    roots: Sequence[nn.Module],
    look: Callable[[nn.Module], None] | None = None,
    *,
    others: bool = True,
) -> Iterator[None]:
    """Lets a block write to copies of the buffers; afterwards the buffers are back, untouched.

    Nothing is written to a buffer, so that autograd finds what it has saved, nothing waits for the
    device, and the block can be recorded as part of a graph.

    Args:
        roots: Modules whose buffers the block may use without a call of the module.
        look: Function that is called with each module that the block calls.
        others: Whether the modules that the block calls are kept apart, too, besides `roots`.
    """
    originals: list[tuple[Any, dict[str, Tensor | None]]] = []
    copies: dict[int, tuple[Tensor, Tensor]] = {}  # modules may share a buffer

    def put_copies(module: nn.Module) -> None:
        if not module._buffers or _never_writes(module):
            return
        originals.append((module._buffers, dict(module._buffers)))
        for name, tensor in list(module._buffers.items()):
            if tensor is None or is_lazy(tensor):
                continue
            if id(tensor) not in copies:
                with torch.set_grad_enabled(tensor.requires_grad and torch.is_grad_enabled()):
                    copies[id(tensor)] = tensor, tensor.clone()
            module._buffers[name] = copies[id(tensor)][1]

    visits = Visits(put_copies)

    def called(module: nn.Module) -> None:
        if others:
            visits(module)
        if look is not None:
            look(module)

    for root in roots:
        visits(root)
    with watching(called):
        try:
            yield
        finally:
            for table, entries in originals:
                for name, tensor in entries.items():
                    table[name] = tensor


def _never_writes(module: nn.Module) -> bool:
    """Whether a module is PyTorch's own and in evaluation mode, where none writes to buffers."""
    return not module.training and type(module).__module__.startswith("torch.nn.")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Returns the state of torch's generators of the host and, if it is a GPU, of the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Sets what :func:`random_state` read."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
