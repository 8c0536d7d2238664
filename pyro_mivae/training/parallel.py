"""Data-parallel training: the processes, and what they agree on.

Each process (*rank*) has the whole data and the same weights, takes its share of every
global batch, and makes its own draws; gradients are averaged, readings reduced, and
rank 0 writes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from pyro_mivae.batches import BatchSource
from pyro_mivae.checks import check_choice, check_count
from pyro_mivae.isolation import random_state, restore_random_state, undisturbed
from pyro_mivae.training import torchrun
from pyro_mivae.training.half_precision import warn_if_slow

logger = logging.getLogger(__name__)

RandomState = dict[str, Tensor]


def make_fabric(
    device: str = "auto", precision: str = "32-true", devices: int = 1, num_nodes: int = 1
) -> Fabric:
    """Makes a Fabric on one device, or on several with a process for each.

    With several it is not launched yet, but knows its rank: :func:`launch` starts the
    other processes or joins them.

    Args:
        device: ``"auto"`` (a GPU where there is one), ``"cpu"`` or ``"cuda"``.
        precision: As Fabric names it, for example ``"32-true"`` or ``"bf16-mixed"``.
        devices: Devices, and processes, on this machine. Under ``torchrun`` its number of
            processes counts, and this is 1 or the same.
        num_nodes: Machines; under ``torchrun`` as `devices`.

    Raises:
        ValueError: If CUDA or more devices are requested than there are, or others than
            those of ``torchrun``.
    """
    check_choice("device", device, ("auto", "cpu", "cuda"))
    devices, num_nodes = _processes(devices, num_nodes)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch finds no CUDA device: use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(
            f"devices={devices}, but torch finds {torch.cuda.device_count()} CUDA device(s): use "
            "fewer processes, or device='cpu'"
        )
    kwargs: dict[str, Any] = {"accelerator": device, "devices": devices, "precision": precision}
    if devices * num_nodes > 1:
        kwargs["strategy"] = DDPStrategy()
        kwargs["num_nodes"] = num_nodes
    fabric = Fabric(**kwargs)
    if device == "cpu" and fabric.is_global_zero:
        warn_if_slow(precision)
    return fabric


def _processes(devices: int, num_nodes: int) -> tuple[int, int]:
    """Processes on a machine, and machines; those of torchrun if it started this process."""
    asked = {"devices": devices, "num_nodes": num_nodes}
    for name, number in asked.items():
        check_count(name, number)
    if not torchrun.running():
        return devices, num_nodes
    actual = dict(zip(asked, torchrun.processes(), strict=True))
    for name, number in asked.items():
        if number not in (1, actual[name]):
            raise ValueError(
                f"{name}={number}, but torchrun started processes for {name}={actual[name]}: leave "
                f"{name} out under torchrun"
            )
    return actual["devices"], actual["num_nodes"]


def launch(fabric: Fabric) -> None:
    """Starts the other processes of a Fabric, unless they run, and waits for them.

    They are started by executing this program's command again, up to its own call of this
    function (or of ``fit``): for scripts and ``python -m``, not for notebooks.
    """
    if fabric.world_size == 1:
        return
    if torch.distributed.is_initialized():
        running = torch.distributed.get_world_size()
        if running != fabric.world_size:
            raise ValueError(
                f"this program runs in {running} processes already, and can't train in "
                f"{fabric.world_size}: use the same devices and num_nodes throughout"
            )
    elif torchrun.running():
        torchrun.join(fabric.device)
    fabric.launch()


def check(fabric: Fabric, batch_size: int | None, stored: dict[str, Tensor]) -> None:
    """Raises a ``ValueError`` where several processes could not train as one does."""
    ranks = fabric.world_size
    if ranks == 1:
        return
    if batch_size is not None and batch_size % ranks:
        raise ValueError(
            f"batch_size={batch_size} is of all processes together and can't be divided by the "
            f"{ranks} there are: use a multiple of {ranks}"
        )
    if stored:
        raise ValueError(
            f"the parameters {sorted(stored)} live in Pyro's store, where several processes do "
            "not average their gradients: make model and guide modules (torch.nn.Module or "
            "PyroModule) that own them, or use devices=1"
        )


def allow_unused(fabric: Fabric, objective: nn.Module, batches: BatchSource) -> None:
    """Lets a loss leave parameters without gradient, if it does so now, before the setup.

    For several processes: they have to look for such parameters in each step, which costs
    time, so that they do it only where there are any. Nothing changes.

    Args:
        fabric: Before the setup.
        objective: Gives the terms of a turn, with the loss.
        batches: The data; the first batch is looked at.
    """
    if fabric.world_size == 1:
        return
    parameters = [p for p in objective.parameters() if p.requires_grad]
    with undisturbed([objective], fabric.device):
        batch = batches.at(0)
        _, loss = objective(0, batch.count, *batch.args, **batch.kwargs)
        has = loss.requires_grad
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if has else []
    unused = torch.tensor(float(any(g is None for g in gradients)), device=fabric.device)
    torch.distributed.all_reduce(unused, torch.distributed.ReduceOp.MAX)
    if isinstance(fabric.strategy, DDPStrategy):
        fabric.strategy._ddp_kwargs["find_unused_parameters"] = bool(unused)


def average_gradients(fabric: Fabric, parameters: Sequence[Tensor]) -> None:
    """Averages the gradients of a player over the processes, after its backward pass.

    For losses of which a step has several: what Fabric wraps takes one for each forward pass. A
    parameter without a gradient in all processes is left without one.

    Args:
        fabric: Fabric of the training.
        parameters: Parameters of the player, the same in all processes.
    """
    if fabric.world_size == 1:
        return
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=fabric.device)
    torch.distributed.all_reduce(has)
    used = [p for p, number in zip(parameters, has.tolist(), strict=True) if number]
    for parameter in used:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = gradient.contiguous()
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= fabric.world_size


def leave() -> None:
    """Ends the part of a process that has nothing to do after a training.

    Threads of the process group that are left when it exits may abort it.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def share_factor(count: float, rank: int, ranks: int) -> float:
    """Returns what a rank's mean over its share of a batch counts in the mean over the ranks.

    Args:
        count: :attr:`~pyro_mivae.batches.Batch.count` of the share.
        rank: Rank of the process.
        ranks: Number of processes.

    Returns:
        Data in the rank's share, divided by the mean number of data in a share; 0 where there are
        fewer data than ranks and this rank has none.
    """
    if math.isinf(count):
        return 0.0
    total = round(count * ranks)
    return math.ceil((total - rank) / ranks) / count if total % ranks else 1.0


def rank_seed(seed: int, rank: int, step: int = 0) -> int:
    """Derives the seed of a rank's draws; `seed` itself for rank 0 at the start."""
    if rank == step == 0:
        return seed
    return (seed + 0x9E3779B1 * rank + 0x85EBCA6B * step) % 2**32


def mean_over_ranks(fabric: Fabric, values: Tensor) -> Tensor:
    """Averages the ranks' values; the result is the same on all of them."""
    if fabric.world_size == 1:
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / fabric.world_size


def agreed_signal(fabric: Fabric, received: list[int], *, now: bool) -> int:
    """Returns the number of a signal that any rank received, 0 for none.

    Args:
        fabric: Fabric of the training.
        received: The signals of this process.
        now: Whether the ranks may ask each other; all of them say the same. One process
            does not need to ask.
    """
    own = received[0] if received else 0
    if fabric.world_size == 1:
        return own
    if not now:
        return 0
    number = torch.tensor(own, device=fabric.device)
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
    return int(number)


def all_states(fabric: Fabric) -> RandomState | list[RandomState]:
    """Returns the random state of a single process, or the list of those of all ranks."""
    own = random_state(fabric.device)
    if fabric.world_size == 1:
        return own
    states: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(states, own)
    return states


def restore_own_state(
    fabric: Fabric, saved: RandomState | list[RandomState], seed: int, step: int
) -> None:
    """Sets this rank's part of what :func:`all_states` gave.

    If that was of another number of ranks, the draws go on from `seed` and `step` instead.
    """
    states = saved if isinstance(saved, list) else [saved]
    if len(states) == fabric.world_size:
        restore_random_state(states[fabric.global_rank], fabric.device)
        return
    logger.warning(
        "the checkpoint is of %d process(es), this training of %d: from step %d on the draws are "
        "other ones than without the stop",
        len(states),
        fabric.world_size,
        step,
    )
    pyro.set_rng_seed(rank_seed(seed, fabric.global_rank, step))
