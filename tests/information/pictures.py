"""Small images whose factors are pixels, and generators of them with known answers.

The thickness of an image is its first pixel and the slant its second; the class is which of the
last three pixels of the second row is bright.
"""

import numpy as np
import torch
from torch.nn import functional as F

SIDE = 6
CLASSES = 3


def pixels(images):
    """Measures the two factors; images whose third pixel is bright cannot be measured."""
    factors = images[:, 0, :2].astype(np.float64) / 255
    factors[images[:, 0, 2] > 127] = np.nan
    return {"thickness": factors[:, 0], "slant": factors[:, 1]}


def draw(thickness, slant, label):
    """Makes images (..., 6, 6) in [0, 1] of factors in [0, 1] and one-hot labels (..., 3)."""
    first = torch.stack([thickness, slant, *[torch.zeros_like(thickness)] * 4], -1)
    second = F.pad(label.to(first), (3, 0))
    return torch.stack([first, second, *[torch.zeros_like(first)] * 4], -2)


def real_images(number, seed=0):
    """Draws uint8 images whose factors are uniform, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    thickness, slant = torch.rand(2, number, generator=generator)
    labels = torch.randint(0, CLASSES, (number,), generator=generator)
    images = draw(thickness, slant, F.one_hot(labels, CLASSES))
    return (255 * images).round().byte(), labels
