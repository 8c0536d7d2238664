"""Encoders and decoders of small images, as plain modules.

Encoders map images of shape ``(..., *image_shape)`` to (..., out_features), decoders map
(..., in_features) to ``(..., *image_shape)``, for any number of leading dimensions, none included.
Outputs are unbounded: raw parameters of a posterior, logits or means of pixels. Weights start
Xavier-uniform, biases at 0. No layer couples the data of a batch, as batch normalisation would:
with it the bound of a datum would depend on the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_mivae.checks import check_count, each

Shape = Sequence[int]

_CHANNELS = (32, 64, 64)  # after each convolution
_FEATURES = 64  # between the convolutions and the code


class MLPEncoder(nn.Module):
    """The poster's encoder: hidden layers with softplus, then a linear one.

    Args:
        out_features: Size of the output.
        image_shape: Shape of one image.
        hidden: Sizes of the hidden layers.

    References:
        Ducau and Trénous (2016), *Mutual information in variational autoencoders*.

    Example:
        >>> MLPEncoder(20)(torch.rand(3, 5, 28, 28)).shape
        torch.Size([3, 5, 20])
    """

    def __init__(
        self, out_features: int, *, image_shape: Shape = (28, 28), hidden: Shape = (500, 500)
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = _mlp([math.prod(self.image_shape), *hidden, out_features])
        self.apply(_xavier)

    def forward(self, image: Tensor) -> Tensor:
        """Maps float images ``(..., *image_shape)`` to (..., out_features)."""
        lead = _check_image(image, self.image_shape)
        features: Tensor = self.layers(image.reshape(*lead, math.prod(self.image_shape)))
        return features


class MLPDecoder(nn.Module):
    """The poster's decoder, the mirror image of :class:`MLPEncoder`.

    Args:
        in_features: Size of the input.
        image_shape: Shape of one image.
        hidden: Sizes of the hidden layers.
    """

    def __init__(
        self, in_features: int, *, image_shape: Shape = (28, 28), hidden: Shape = (500, 500)
    ) -> None:
        super().__init__()
        self.in_features, self.image_shape = in_features, tuple(image_shape)
        self.layers = _mlp([in_features, *hidden, math.prod(self.image_shape)])
        self.apply(_xavier)

    def forward(self, latent: Tensor) -> Tensor:
        """Maps (..., in_features) to logits or means of pixels, ``(..., *image_shape)``."""
        lead = _check_latent(latent, self.in_features)
        image: Tensor = self.layers(latent)
        return image.reshape(*lead, *self.image_shape)


class ConvEncoder(nn.Module):
    """Three convolutions of stride 2 and two linear layers, with ELU between.

    About 120 thousand parameters for 28 x 28, a fifth of :class:`MLPEncoder`.

    Args:
        out_features: Size of the output.
        image_shape: Shape of one image, (height, width) or (channels, height, width).
    """

    def __init__(self, out_features: int, *, image_shape: Shape = (28, 28)) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.planes = _planes(self.image_shape)
        # ELU has slope 1 at 0: SiLU would halve the signal at every Xavier layer.
        layers: list[nn.Module] = []
        for (i, *_), (o, *_) in itertools.pairwise(self.planes):
            layers += [nn.Conv2d(i, o, 3, stride=2, padding=1), nn.ELU()]
        layers += [nn.Flatten(), nn.Linear(math.prod(self.planes[-1]), _FEATURES), nn.ELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(_FEATURES, out_features))
        self.apply(_xavier)

    def forward(self, image: Tensor) -> Tensor:
        """Maps float images ``(..., *image_shape)`` to (..., out_features)."""
        lead = _check_image(image, self.image_shape)
        features: Tensor = self.layers(image.reshape(-1, *self.planes[0]))
        return features.reshape(*lead, features.shape[-1])


class ConvDecoder(nn.Module):
    """The mirror image of :class:`ConvEncoder`, with transposed convolutions.

    Args:
        in_features: Size of the input.
        image_shape: Shape of one image, (height, width) or (channels, height, width).
    """

    def __init__(self, in_features: int, *, image_shape: Shape = (28, 28)) -> None:
        super().__init__()
        self.in_features, self.image_shape = in_features, tuple(image_shape)
        planes = _planes(self.image_shape)
        layers: list[nn.Module] = [nn.Linear(in_features, _FEATURES), nn.ELU()]
        layers += [nn.Linear(_FEATURES, math.prod(planes[-1])), nn.Unflatten(-1, planes[-1])]
        for (i, *_), (o, height, width) in itertools.pairwise(reversed(planes)):
            # The encoder rounds halves up, so n comes from 2n or from 2n - 1.
            even = (1 - height % 2, 1 - width % 2)
            conv = nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=even)
            layers += [nn.ELU(), conv]
        self.layers = nn.Sequential(*layers)
        self.apply(_xavier)

    def forward(self, latent: Tensor) -> Tensor:
        """Maps (..., in_features) to logits or means of pixels, ``(..., *image_shape)``."""
        lead = _check_latent(latent, self.in_features)
        image: Tensor = self.layers(latent.reshape(-1, self.in_features))
        return image.reshape(*lead, *self.image_shape)


def _mlp(sizes: Shape) -> nn.Sequential:
    each(check_count)("the layers", sizes)
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.Softplus()]
    return nn.Sequential(*layers[:-1])


def _planes(image_shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Returns (channels, height, width) of the image and after each convolution."""
    if len(image_shape) not in (2, 3):
        raise ValueError(
            f"image_shape must be (height, width) or (channels, height, width), found {image_shape}"
        )
    depth, height, width = (1, *image_shape)[-3:]
    planes = [(depth, height, width)]
    for channels in _CHANNELS:
        height, width = (height + 1) // 2, (width + 1) // 2
        planes.append((channels, height, width))
    return planes


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_image(image: Tensor, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the leading dimensions."""
    split = image.dim() - len(image_shape)
    if split < 0 or image.shape[split:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise ValueError(f"expected images of shape (..., {expected}), found {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"expected floating point images, found {image.dtype}: divide by 255 first")
    return tuple(image.shape[:split])


def _check_latent(latent: Tensor, in_features: int) -> tuple[int, ...]:
    """Returns the leading dimensions."""
    if latent.shape[-1:] != (in_features,):
        shape = tuple(latent.shape)
        raise ValueError(f"expected latents of shape (..., {in_features}), found {shape}")
    return tuple(latent.shape[:-1])
