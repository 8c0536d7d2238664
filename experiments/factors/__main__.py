"""Runs ``python -m experiments.factors``."""

import sys

from experiments.factors.program import main

if __name__ == "__main__":
    sys.exit(main())
