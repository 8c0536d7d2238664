"""Runs ``python -m experiments.open_question``."""

import sys

from experiments.open_question.program import main

if __name__ == "__main__":
    sys.exit(main())
