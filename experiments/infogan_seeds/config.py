"""Train InfoGAN in five forms, five seeds each, and measure it beside the main job's VAE.

All runs are on the full MNIST and all are shown, none is picked. Leaves a table (infogan.csv), a
report (infogan.md) and figures. What is done is skipped and what was stopped goes on: start the
same command again. It takes about an hour on 2 cores.

    python -m experiments.infogan_seeds --workers 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.command_line import parse as parse_settings
from experiments.runner.engine import STUDY, StudyConfig
from pyro_mivae.checks import Check, check_count


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    seeds: int = 5
    """Seeds of each form."""


CHECKS: dict[str, Check] = {**STUDY, "seeds": check_count}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "infogan_seeds", __doc__, arguments)
