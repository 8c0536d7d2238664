"""Measure the information of a run's codes about the images that are made from them.

Takes a run of experiments.mnist or of experiments.infogan. Codes are drawn from their prior, images
are made and measured, and no guide takes part. Leaves the numbers beside the run.

    python -m experiments.generator runs/mnist-uniform-straight-through-20260101-120000
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from experiments.command_line import Switch, check_folder
from experiments.command_line import parse as parse_settings
from pyro_mivae.checks import MOST_DRAWS, Check, check_count, check_seed, optional

RESULT = "generator.json"
"""The file of the numbers."""
DRAWS = 5000
"""Images that are measured."""
CHECK_DRAWS: Check = partial(check_count, least=100, most=MOST_DRAWS)
"""What their number may be: fewer give no information by 20 bins."""


def check_channels(name: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Returns channels unless there is none."""
    if not channels:
        raise ValueError(f"{name}: expected mean, sample or both, found none")
    return channels


@dataclass(frozen=True)
class Config:
    """The run, how its images are made, and where the results go."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of a run; left out with --smoke, which trains one."""
    channels: tuple[Literal["mean", "sample"], ...] = ("mean", "sample")
    """Images that are measured: the means of x', or drawn pixels."""
    draws: int = DRAWS
    """Number of images."""
    seed: int | None = None
    """Seed of the draws; None is 10,000 and the run's own."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder of the results; by default RUN/generator."""
    overwrite: Switch = False
    """Replace the results that are there."""
    smoke: Switch = False
    """A run of seconds: few images."""


CHECKS: dict[str, Check] = {
    "channels": check_channels,
    "draws": CHECK_DRAWS,
    "seed": optional(check_seed),
    **dict.fromkeys(("data_dir", "out"), check_folder),
}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "generator", __doc__, arguments)
