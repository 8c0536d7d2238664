"""Likelihoods p(x|z) of images, each with how uint8 images become data."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_mivae.checks import check_number
from pyro_mivae.datasets import binarize
from pyro_mivae.distributions.factorised import Factorised


class Likelihood(nn.Module):
    """p(x|z) given the decoder's output, and how images become x.

    A subclass defines :meth:`forward`; images are uint8, x is a float tensor.
    :class:`~pyro_mivae.vae.modules.Generator` makes the image's dimensions events where they are
    none yet, so that one likelihood serves images with and without channels.
    """

    def forward(self, output: Tensor) -> Distribution:
        """Makes the distribution of x, independent pixels or more, from the decoder's output."""
        raise NotImplementedError

    def observe(self, images: Tensor) -> Tensor:
        """Makes the data x of uint8 images of any shape; values in [0, 1] by default.

        Raises:
            TypeError: If the images are not uint8 (they would be divided by 255 twice).
        """
        if images.dtype != torch.uint8:
            raise TypeError(
                f"images: expected uint8, 0 to 255, found {images.dtype}; don't rescale"
            )
        return images / 255.0


class Bernoulli(Likelihood):
    """Binary pixels; x is a binarised image, each channel for itself.

    Args:
        binarization: ``"dynamic"`` draws each pixel anew with its grey value as the
            probability (Burda et al. 2015), ``"fixed"`` thresholds at one half.
    """

    def __init__(self, *, binarization: str = "dynamic") -> None:
        super().__init__()
        if binarization not in ("dynamic", "fixed"):
            raise ValueError(f"binarization must be 'dynamic' or 'fixed', found {binarization!r}")
        self.binarization = binarization

    def forward(self, output: Tensor) -> Distribution:
        """Makes Bernoulli pixels with `output` as logits."""
        return Factorised(dist.Bernoulli(logits=_single(output)), 2)

    def observe(self, images: Tensor) -> Tensor:
        """Binarises images."""
        return binarize(images, threshold=None if self.binarization == "dynamic" else 0.5)


class Grey(Likelihood):
    """The poster's likelihood: the Bernoulli log-density at grey values in [0, 1].

    This is minus the cross-entropy, and no normalised density of grey images. Under the channels
    that draw, generated images are binary.
    """

    def forward(self, output: Tensor) -> Distribution:
        """Makes Bernoulli pixels with `output` as logits, which accept grey values."""
        grey = dist.Bernoulli(logits=_single(output), validate_args=False)
        return Factorised(grey, 2, validate_args=False)


class Gaussian(Likelihood):
    """Grey or coloured pixels with Gaussian noise of one learnt standard deviation.

    Args:
        scale: Initial standard deviation.
    """

    def __init__(self, *, scale: float = 0.3) -> None:
        super().__init__()
        scale = check_number("scale", scale, above=0)
        # softplus(raw_scale) + 1e-3 is the standard deviation.
        self.raw_scale = nn.Parameter(torch.tensor(scale).expm1().log())

    def forward(self, output: Tensor) -> Distribution:
        """Makes normal pixels with mean `output`."""
        output = _single(output)
        scale = F.softplus(self.raw_scale.to(output.dtype)) + 1e-3
        return dist.Normal(output, scale).to_event(2)


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "bernoulli-fixed": lambda: Bernoulli(binarization="fixed"),
    "grey": Grey,
    "gaussian": Gaussian,
}
"""The likelihoods by name."""


def _single(output: Tensor) -> Tensor:
    """At least float32: half precision is for networks, not for densities."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
