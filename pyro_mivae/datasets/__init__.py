"""Images for training: handwritten digits.

All images are uint8 and in memory. The digits are MNIST's (:func:`load_digits`).
"""

from pyro_mivae.datasets.digits import (
    Digits,
    DigitsNotFoundError,
    Split,
    binarize,
    load_digits,
)

__all__ = ["Digits", "DigitsNotFoundError", "Split", "binarize", "load_digits"]
