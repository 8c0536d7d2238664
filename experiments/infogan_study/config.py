"""Answer the poster's open question: which property of InfoGAN leads to disentangled codes?

Trains GANs and VAEs of the same networks on digits whose factors are known, with and without the
category, the uniform prior and the term on the codes; measures the generated images; and judges
six contrasts by rules that were fixed before (docs/findings/infogan.md). A row a run is added to a
table (infogan_study.csv). Report and figure are made from the table alone. A run whose row is in
the table is skipped, and what was stopped goes on: start the same command again.

    python -m experiments.infogan_study --blocks pre-check --workers 2
    python -m experiments.infogan_study --workers 2 --table docs/results/infogan_study.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from experiments.command_line import parse as parse_settings
from experiments.runner.engine import STUDY, StudyConfig
from pyro_mivae.checks import Check, check_count, optional

MOST_SEEDS = 24
"""Seeds of each cell with the one extension that the rules allow."""


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    blocks: tuple[str, ...] = ("confirmatory",)
    """Names of the parts to run: pre-check (each cell once), mended (again those whose training was
    mended) or confirmatory; with "none" the report alone."""
    seeds: int | None = None
    """Seeds of each cell in the confirmatory block, up to 24; None for the 12 of the plan."""
    table: Path | None = None
    """Table that gets a row a run, and whose runs are not made again; by default
    infogan_study.csv in --out."""


CHECKS: dict[str, Check] = {
    **STUDY,
    "seeds": optional(partial(check_count, most=MOST_SEEDS)),
}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "infogan_study", __doc__, arguments)
