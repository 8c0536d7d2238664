"""Runs ``python -m experiments.sweep``."""

import sys

from experiments.sweep.program import main

if __name__ == "__main__":
    sys.exit(main())
