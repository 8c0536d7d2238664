"""Runs ``python -m experiments.capacity``."""

import sys

from experiments.command_line import start

if __name__ == "__main__":
    sys.exit(start("capacity"))
