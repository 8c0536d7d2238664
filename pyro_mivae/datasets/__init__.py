"""Images for training: handwritten digits, and data sets whose factors are known.

All images are uint8 and in memory. The digits are MNIST's (:func:`load_digits`). Of the others the
factors behind every image are known, and follow laws that can be chosen: :func:`sprites`,
:func:`reinked_digits` and :func:`resampled_digits`.
"""

from pyro_mivae.datasets.digits import (
    Digits,
    DigitsNotFoundError,
    Split,
    binarize,
    load_digits,
)
from pyro_mivae.datasets.factored import FactorData, FactorSplit
from pyro_mivae.datasets.laws import (
    Laplace,
    Law,
    Normal,
    Uniform,
    draw,
)
from pyro_mivae.datasets.reinked import reink, reinked_digits
from pyro_mivae.datasets.rendered import (
    SHAPES,
    SPRITE_LAWS,
    render_sprites,
    sprites,
)
from pyro_mivae.datasets.resampled import (
    effective_size,
    measured,
    resampled_digits,
    resampling_weights,
)

__all__ = [
    "SHAPES",
    "SPRITE_LAWS",
    "Digits",
    "DigitsNotFoundError",
    "FactorData",
    "FactorSplit",
    "Laplace",
    "Law",
    "Normal",
    "Split",
    "Uniform",
    "binarize",
    "draw",
    "effective_size",
    "load_digits",
    "measured",
    "reink",
    "reinked_digits",
    "render_sprites",
    "resampled_digits",
    "resampling_weights",
    "sprites",
]
