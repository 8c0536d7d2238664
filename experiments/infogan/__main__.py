"""Runs ``python -m experiments.infogan``."""

import sys

from experiments.command_line import start

if __name__ == "__main__":
    sys.exit(start("infogan"))
