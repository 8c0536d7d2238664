"""The machine that a timing was taken on, as every table and figure names it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def describe_machine() -> str:
    """Names the processor, its cores and threads, and the GPU if there is one."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    text = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        text += f"; {torch.cuda.get_device_name()}"
    return text


def versions(*packages: str) -> str:
    """Names the versions of Python and packages, ``"..., torch 2.14.1"``, if they are installed."""
    names = []
    for package in packages:
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(["Python " + platform.python_version(), *names])


def anonymous_memory() -> float:
    """Returns MiB of this process that are no file's pages; NaN where the system is silent."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon")]
    return int(sizes[0]) / 1024 if sizes else float("nan")
