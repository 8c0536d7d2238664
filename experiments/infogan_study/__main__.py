"""Runs ``python -m experiments.infogan_study``."""

import sys

from experiments.command_line import start

if __name__ == "__main__":
    sys.exit(start("infogan_study"))
