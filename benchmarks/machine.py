"""The machine that a timing was taken on, as every table and figure names it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

INSTRUCTIONS = {
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "asimd": "NEON",
}
"""Vector instructions by the processor's flag, the widest first: one of them is named."""
FOR_PRODUCTS = {"avx512_bf16": "bf16", "amx_tile": "AMX", "bf16": "bf16"}
"""Instructions for products of matrices in half precision."""


def describe_machine(info: Path = Path("/proc/cpuinfo")) -> str:
    """Names the processor, what it can do, its cores and threads, and the GPU if there is one.

    Args:
        info: The system's file about the processor. A virtual machine may give the name of a
            family only, such as "AMD EPYC": family and model numbers tell its members apart.
    """
    entries: dict[str, str] = {}
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    name = entries.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in entries:
        name += f" (family {entries['cpu family']}, model {entries.get('model', '?')})"
    flags = (entries.get("flags") or entries.get("Features") or "").split()
    vectors = [words for flag, words in INSTRUCTIONS.items() if flag in flags]
    products = [words for flag, words in FOR_PRODUCTS.items() if flag in flags]
    able = [*vectors[:1], *(products or (["no bf16, no AMX"] if flags else []))]
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    text = ", ".join([name, *able, cores])
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
