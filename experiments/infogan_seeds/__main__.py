"""Runs ``python -m experiments.infogan_seeds``."""

import sys

from experiments.command_line import start

if __name__ == "__main__":
    sys.exit(start("infogan_seeds"))
