"""Map where the noise is ignored: the poster's Figure 4 over sizes of the code and of the networks.

Trains the poster's VAE with its channel on the full MNIST. One part varies the dimensions of code
and noise, the other the width and the depth of the networks, each with lambda of 1 and of 2, for 5
epochs. The models whose noise has the least KL are then trained for 25 epochs. A row a run is added
to a table (capacity.csv). Report and figure are made from the table alone. A run whose row is in
the table is skipped, and what was stopped goes on: start the same command again.

    python -m experiments.capacity --workers 2 --table docs/results/capacity.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.command_line import parse as parse_settings
from experiments.runner.engine import STUDY, StudyConfig
from pyro_mivae.checks import Check, check_count


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    blocks: tuple[str, ...] = ()
    """Names of the parts to run: sizes, networks, without or long (which follows each of the first
    two as soon as it is whole); all by default, with "none" the report alone."""
    seeds: int = 2
    """Seeds of each model of the map."""
    long_seeds: int = 3
    """Seeds of the models that are trained for 25 epochs."""
    table: Path | None = None
    """Table that gets a row a run, and whose runs are not made again; by default capacity.csv in
    --out."""


CHECKS: dict[str, Check] = {**STUDY, **dict.fromkeys(("seeds", "long_seeds"), check_count)}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "capacity", __doc__, arguments)
