"""The peak memory of a process; imports nothing that would add to it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def process_peak() -> float:
    """Returns the MiB that this process had resident at most."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of Linux would remember the parent's from before the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
