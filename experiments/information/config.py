"""Say how much information the codes of a trained run carry, from both sides.

Leaves a table, its numbers, and figures of how the bounds close.

    python -m experiments.information runs/mnist-uniform-straight-through-20260101-120000
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
from pyro_mivae.checks import Check, check_count, check_draws, check_seed, each, optional


@dataclass(frozen=True)
class Config:
    """Sizes of the measurements, and where the results go."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of a run of experiments.mnist; left out with --smoke, which trains one."""
    num_samples: tuple[int, ...] = (1, 10, 100, 1000, 5000)
    """Numbers K of draws at which the bounds under the model are noted."""
    images: int = 200
    """Generated images x' that the bounds under the model are averaged over."""
    num_data: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    """Numbers N of test images for the information under the data."""
    refit_steps: int = 3000
    """Steps in which a copy of the guide is fitted to generated images; 0 leaves it out."""
    refit_samples: int = 1000
    """The largest K with the refitted guide, for which the bounds close sooner."""
    decomposition_images: int | None = None
    """Test images for taking the ELBO apart, which takes time by their square; None for all."""
    evidence_images: int = 100
    """Test images for the log-evidence, with the largest K."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    seed: int = 0
    """Seed of all random draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder of the results; by default RUN/information."""
    overwrite: Switch = False
    """Replace the results that are there."""
    smoke: Switch = False
    """A quick trial: few draws, few images."""


CHECKS: dict[str, Check] = {
    "num_samples": each(check_draws),
    "num_data": each(check_count),
    **dict.fromkeys(("images", "refit_samples", "evidence_images"), check_draws),
    "refit_steps": partial(check_count, least=0),
    "decomposition_images": optional(check_count),
    "seed": check_seed,
    **dict.fromkeys(("data_dir", "out"), check_folder),
}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "information", __doc__, arguments)
