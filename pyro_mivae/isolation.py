"""Runs that leave no trace: random states, buffers and modes as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch import nn


def modules_of(parts: Sequence[Any]) -> list[nn.Module]:
    """The modules that models and guides are, or are methods of, with all their parts."""
    owners = [getattr(fn, "__self__", fn) for fn in map(poutine.unwrap, parts)]
    found: dict[int, nn.Module] = {}
    for owner in owners:
        if isinstance(owner, nn.Module):
            found.update({id(module): module for module in owner.modules()})
    return list(found.values())


def forked_random(device: torch.device) -> Any:
    """A context that leaves the random states of the host and of a device as they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def undisturbed(parts: Sequence[Any], device: torch.device) -> Iterator[list[str]]:
    """Runs a block that leaves no trace in random states and buffers.

    Yields:
        A list; after the block it has the names of the buffers in whose place the block had put
        new tensors.
    """
    modules = modules_of(parts)
    tables = [module._buffers for module in modules]
    before = [{k: v if v is None else (v, v.clone()) for k, v in t.items()} for t in tables]
    replaced: list[str] = []
    with forked_random(device):
        try:
            yield replaced
        finally:
            replaced += _restore(tables, before)


def _restore(tables: list[Any], before: list[dict[str, Any]]) -> list[str]:
    replaced = []
    with torch.no_grad():
        for table, old in zip(tables, before, strict=True):
            for name, pair in old.items():
                if pair is None:
                    table[name] = None
                    continue
                if table.get(name) is not pair[0]:
                    replaced.append(name)
                    table[name] = pair[0]
                if not torch.equal(pair[0], pair[1]):
                    pair[0].copy_(pair[1])
    return replaced


@contextmanager
def evaluation(*parts: Any, device: torch.device, seed: int = 0) -> Iterator[None]:
    """No gradients, modules in evaluation mode, a forked and seeded random state."""
    modules = modules_of(parts)
    modes = [module.training for module in modules]
    with torch.no_grad(), forked_random(device):
        torch.manual_seed(seed)
        for module in modules:
            module.training = False
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of torch's generators of the host and, if it is a GPU, of the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Sets what :func:`random_state` read."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
