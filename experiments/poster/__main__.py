"""Runs ``python -m experiments.poster``."""

import sys

from experiments.poster.program import main

if __name__ == "__main__":
    sys.exit(main())
