"""Answer the poster's open question: do priors matched to a feature disentangle it?

Trains small VAEs whose code has a Gaussian, a uniform or another prior on images whose factors have
chosen laws, and the main job's models on MNIST; measures what each code carries about each factor;
and judges the hypotheses by rules that were fixed before (docs/findings/open-question.md). Leaves a
table (open_question.csv, a row for each run), a report (open_question.md) and figures, from the
runs' folders. What is done is skipped and what was stopped goes on: start the same command again.
Seeds can be added to a table whose folders are gone: --earlier takes it.

    python -m experiments.open_question --workers 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.command_line import Switch
from experiments.command_line import parse as parse_settings
from experiments.runner.engine import STUDY, StudyConfig
from pyro_mivae.checks import Check, check_count, optional


@dataclass(frozen=True)
class Config(StudyConfig):
    """The runs, and where they run."""

    seeds: int | None = None
    """At most as many seeds of each cell; None for the number of each block."""
    add_seeds: Switch = False
    """Run the 40 extra seeds of G and T on re-inked digits that the rule of H1 demands."""
    earlier: Path | None = None
    """Table of earlier runs, such as docs/results/open_question.csv: they count in the report, and
    seeds that the table has are not trained again."""


CHECKS: dict[str, Check] = {**STUDY, "seeds": optional(check_count)}
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "open_question", __doc__, arguments)
