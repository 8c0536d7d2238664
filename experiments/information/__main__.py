"""Runs ``python -m experiments.information``."""

import sys

from experiments.information.program import main

if __name__ == "__main__":
    sys.exit(main())
