"""Injects faults into runs and prints how many survive.

Two runs of one folder, flipped bits, full disks, signals at any moment, kills, torn and edited
files, bad values, files of strangers: after each the run is refused with its reason, or goes on to
the same bits. Exits with status 1 if one does not survive.

    python -m benchmarks.faults
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.faults import (
    Fault,
    checkpoint_files,
    damaged_files,
    disk,
    folders,
    gathered,
    programs,
    resuming,
    strangers,
    values,
)

POINTS: dict[str, Mapping[str, Fault]] = {
    "1 folders": folders.FAULTS,
    "2 checkpoints": checkpoint_files.FAULTS,
    "3 resuming": gathered(resuming.FAULTS, programs.STOPS),
    "4 values": values.FAULTS,
    "5 disk and damaged files": gathered(disk.FAULTS, damaged_files.FAULTS, programs.DAMAGE),
    "6 strangers' files": strangers.FAULTS,
}
"""The faults by the points of issue 18."""


@dataclass(frozen=True)
class Config:
    """The faults to inject."""

    only: str = ""
    """Part of the names, of points or faults, to inject these alone."""
    smoke: bool = False
    """A run of seconds: the first fault and each twelfth after it."""


def main(arguments: list[str] | None = None) -> int:
    """Injects the faults; returns the program's exit code."""
    config = tyro.cli(Config, args=arguments, description=__doc__)
    every = ((point, *item) for point, table in POINTS.items() for item in table.items())
    named = [(f"{point}: {name}", fault) for point, name, fault in every]
    todo = [(name, fault) for name, fault in named if config.only in name]
    todo = todo[::12] if config.smoke else todo
    survived, started = 0, time.monotonic()
    for name, fault in todo:
        error = injected(fault)
        survived += not error
        if error:
            print(f"DID NOT SURVIVE  {name}\n{error}", flush=True)
    print(f"{survived} of {len(todo)} survived, {time.monotonic() - started:.0f} s")
    return 0 if survived == len(todo) else 1


def injected(fault: Fault) -> str:
    """Injects a fault in a folder of its own; returns what did not survive, if anything."""
    threads, here = torch.get_num_threads(), os.getcwd()
    unread = io.StringIO()
    logger, null = logging.getLogger("pyro_mivae"), logging.NullHandler()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addHandler(null)
        logger.propagate = False
        try:
            with (
                contextlib.redirect_stdout(unread),
                contextlib.redirect_stderr(unread),
            ):
                fault(Path(folder))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return "".join(traceback.format_exception(error))
        finally:
            logger.removeHandler(null)
            logger.propagate = True
            torch.set_num_threads(threads)
            os.chdir(here)
    return ""


if __name__ == "__main__":
    sys.exit(main())
