"""Runs ``python -m experiments.mnist``."""

import sys

from experiments.mnist.program import main

if __name__ == "__main__":
    sys.exit(main())
