"""Train and measure the main experiment for every combination of lambda, prior, channel and seed.

Runs that are done are skipped and stopped ones go on: start the same command again after whatever
has stopped it. Flags after -- go to experiments.mnist. Leaves a folder for each run, a table
(sweep.csv, a row for each run) and a figure of them.

    python -m experiments.sweep --mi-weights 0 0.5 1 2 --seeds 0 1 2 --workers 2 -- --steps 2000
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from experiments.command_line import Switch, check_folder
from experiments.command_line import parse as parse_settings
from experiments.mnist.config import Channel, CodePrior
from experiments.runner.engine import ENGINE, Engine
from pyro_mivae.checks import Check, check_choice, check_number, check_seed, each


@dataclass(frozen=True)
class Config(Engine):
    """The runs, and where they run."""

    mi_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Values of lambda."""
    priors: tuple[CodePrior, ...] = ("gaussian", "uniform")
    """Priors of the code."""
    channels: tuple[Channel, ...] = ("straight-through",)
    """How x' is generated in the training."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each combination."""
    out: Path | None = None
    """Folder of the study; runs/sweep by default, to be started again and added to."""
    together: Switch = False
    """Train the seeds of each combination as one, by fit_many, before the runs measure them."""
    smoke: Switch = False
    """Two runs of seconds in a folder of their own."""


CHECKS: dict[str, Check] = {
    **ENGINE,
    "mi_weights": each(partial(check_number, least=0)),
    "priors": each(partial(check_choice, choices=get_args(CodePrior))),
    "channels": each(partial(check_choice, choices=get_args(Channel))),
    "seeds": each(check_seed),
    "out": check_folder,
}
"""What the settings may be."""


def parse(arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Parses the command line; what stands after ``--`` is for the runs, and left as it is."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    config = parse_settings(Config, "sweep", __doc__, arguments[:split])
    return config, list(arguments[split + 1 :])
