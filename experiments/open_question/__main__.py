"""Runs ``python -m experiments.open_question``."""

import sys

from experiments.command_line import start

if __name__ == "__main__":
    sys.exit(start("open_question"))
