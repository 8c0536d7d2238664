"""Programs that measure a finished run: which run, into which folder, and what can go wrong."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.command_line import check_settings, smoke_folder
from experiments.mnist import program as mnist
from experiments.results_folder import results_folder
from pyro_mivae.checks import Check
from pyro_mivae.training.checkpoints import CheckpointError


def measure_run(
    name: str,
    config: Any,
    checks: Mapping[str, Check],
    result: str,
    shorten: Callable[[Any], Any],
    run: Callable[[Any, Path, Path], None],
) -> int:
    """Checks the settings and measures a run; with ``--smoke`` one that is trained for it.

    Args:
        name: Name of the folder of results in that of the run, by default.
        config: Settings, with `run`, `out`, `overwrite` and `smoke`.
        checks: Checks of the settings.
        result: File that is there when the results are.
        shorten: Makes the settings of a smoke run of others.
        run: Measures, given settings, the folder of the run and that of the results.

    Returns:
        The program's exit code.
    """
    try:
        check_settings(config, checks)
        if config.smoke:
            config = shorten(dataclasses.replace(config, run=config.run or _trained(config)))
        if config.run is None:
            raise ValueError("name the folder of a run (or --smoke for a trial)")
        out = config.out or config.run / name
        with results_folder(out, result, config.overwrite):
            run(config, config.run, out)
    except (ValueError, OSError, RuntimeError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _trained(config: Any) -> Path:
    """The folder of a run that is trained for a smoke."""
    folder = smoke_folder(config.out) / "mnist"
    again = ["--overwrite"] if config.overwrite else []
    if mnist.main(["--smoke", "--out", str(folder), *again]):
        raise RuntimeError(f"no run could be trained in {folder}")
    return folder
