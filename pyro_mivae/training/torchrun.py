"""What ``torchrun`` says about the processes that it starts, and how they find each other."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import timedelta

import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

TIMEOUT = timedelta(minutes=30)
"""As long as Fabric lets a process wait for the others."""


def running() -> bool:
    """Tells whether torchrun started this process."""
    return bool(TorchElasticEnvironment.detect())


def processes() -> tuple[int, int]:
    """Counts the processes of torchrun on a machine, and its machines."""
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def job() -> str | None:
    """Names the job of torchrun that this process is of, the same after a restart.

    None without torchrun.
    """
    if not running():
        return None
    name = os.environ["TORCHELASTIC_RUN_ID"]
    # Without --rdzv-id all jobs have the id "none"; the parent is the agent, which stays.
    return f"{socket.gethostname()}:{os.getppid()}" if name in ("", "none") else name


def restarts() -> tuple[int, int]:
    """Counts how many times torchrun restarted the processes, and how many it may."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count), int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))


def join(device: torch.device) -> None:
    """Makes the process group, with a place of its own in torchrun's store.

    The store outlives a restart, with the addresses of the dead processes in it, and torch
    tells one start from the next by nothing (https://github.com/pytorch/pytorch/issues/135712).
    The count of restarts does not help: each machine counts its own.

    Args:
        device: Device of this process.
    """
    store, rank, ranks = next(rendezvous("env://", timeout=TIMEOUT))
    store.set_timeout(TIMEOUT)
    name = _agree_on_name(PrefixStore("pyro_mivae", store), rank, ranks)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(name, store),
        rank=rank,
        world_size=ranks,
        timeout=TIMEOUT,
        device_id=None if device.type == "cpu" else device,
    )


def _agree_on_name(store: Store, rank: int, ranks: int) -> str:
    """A name that all processes of this start have, and none of an earlier one.

    Rank 0 makes it and answers every process by the process's own name.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"rank-{rank}", own)
        name: str = store.get(f"answer-{own}").decode()
        store.add(f"heard-{name}", 1)
        return name
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while store.add(f"heard-{own}", 0) < ranks - 1:
        for other in range(1, ranks):
            if store.check([f"rank-{other}"]):
                store.set(f"answer-{store.get(f'rank-{other}').decode()}", own)
        if time.monotonic() > deadline:
            raise TimeoutError(f"only some of the {ranks} processes have come within {TIMEOUT}")
        time.sleep(0.05)
    return own
