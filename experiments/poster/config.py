"""Reproduce the poster of 2016: its figures, its claims, and what its mutual information is.

Trains the poster's VAE on the full MNIST with and without the term, with all four channels, over
lambda, beta, sizes and seeds; measures the information of the main runs from both sides; and
leaves a table (poster.csv), a report (poster.md) and the figures, all from the runs' folders. What
is done is skipped and what was stopped goes on: start the same command again. It takes three to
six hours on 2 cores.

    python -m experiments.poster --workers 2
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

    seeds: int = 3
    """Seeds of the poster's settings."""
    figure_4_seeds: int = 8
    """Seeds of the trainings with 10 + 10 dimensions; those beyond --seeds have 10 epochs."""


CHECKS: dict[str, Check] = {
    **STUDY,
    **dict.fromkeys(("seeds", "figure_4_seeds"), check_count),
}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "poster", __doc__, arguments)
