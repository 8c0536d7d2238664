"""Images as what is read: grey values of 8 bits, without a single channel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = NDArray[np.uint8]

_FAR = 0.5
"""How far beyond 0 to 1 means of pixels lie only where an image has another scale."""


def without_channel(images: Tensor) -> Tensor:
    """Returns grey images (N, 1, H, W) as (N, H, W), and others as they are."""
    return images[:, 0] if images.dim() == 4 and images.shape[1] == 1 else images


def to_bytes(value: Tensor, name: str, *, drawn: bool) -> Images:
    """Rounds images to 8 bits, (N, H, W) or (N, channels, H, W).

    Args:
        value: Images, grey values in [0, 1] or uint8.
        name: Name of their site, for errors.
        drawn: Whether pixels are drawn, so that their average alone has to be in [0, 1].

    Raises:
        ValueError: If they are no finite images in [0, 1].
    """
    value = without_channel(value.detach())
    if value.dim() not in (3, 4):
        raise ValueError(
            f"site '{name}': expected images (N, height, width) or (N, channels, height, width), "
            f"found the shape {tuple(value.shape)}: give a function that makes them, "
            "to_images=lambda x: x.reshape(-1, 28, 28), say"
        )
    if value.dtype == torch.uint8:
        return value.cpu().numpy()
    value = value.double()
    finite = value.isfinite()
    if not bool(finite.all()):
        raise ValueError(
            f"site '{name}': expected finite images, found NaN or infinity in "
            f"{100 * float((~finite).double().mean()):.3g} % of the pixels"
        )
    # Noise may take drawn pixels anywhere, but not their average.
    typical = value.mean(0) if drawn else value
    outside = (typical < -_FAR) | (typical > 1 + _FAR)
    if (share := float(outside.double().mean())) > 0.01:
        raise ValueError(
            f"site '{name}': expected grey values from 0 (paper) to 1 (ink), found "
            f"{100 * share:.0f} % of the pixels beyond {-_FAR:g} to {1 + _FAR:g}, from "
            f"{typical.min():.3g} to {typical.max():.3g}: give a function that makes them, "
            "to_images=lambda x: (x + 1) / 2, say"
        )
    return (255 * value.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
