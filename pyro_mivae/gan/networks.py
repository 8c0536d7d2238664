"""InfoGAN's networks for images of 28 x 28, in its own sizes and in small ones for two cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from pyro_mivae.infer import MinibatchDiscrimination

Size = Literal["small", "paper"]

_SLOPE = 0.1
"""Slope of the leaky rectifier below 0."""


@dataclass(frozen=True)
class Widths:
    """Sizes of the layers.

    Attributes:
        linear: Features of the generator's first layer.
        planes: Planes of the generator's images of 7 x 7 and 14 x 14.
        convolutions: Planes of the trunk's two convolutions.
        features: Features that the trunk gives.
        reading: Features of the guide's hidden layer.
        kernels: Kernels of minibatch discrimination; 0 for none.
        batch_norm: Whether the discriminator's features are normalised by the batch, as in the
            paper, or each datum's by itself.
    """

    linear: int
    planes: tuple[int, int]
    convolutions: tuple[int, int]
    features: int
    reading: int
    kernels: int
    batch_norm: bool


WIDTHS: dict[Size, Widths] = {
    "small": Widths(256, (32, 16), (16, 32), 128, 64, kernels=8, batch_norm=False),
    "paper": Widths(1024, (128, 64), (64, 128), 1024, 128, kernels=0, batch_norm=True),
}


class Decoder(nn.Module):
    """The generator's network: latents to logits of pixels.

    Args:
        in_features: Size of the latents.
        widths: Sizes of the layers.
        batch_norm: Whether layers are normalised by the batch, as an adversary needs it.

    References:
        Chen et al. (2016), *InfoGAN*, appendix C.1.
    """

    def __init__(self, in_features: int, widths: Widths, *, batch_norm: bool = True) -> None:
        super().__init__()
        linear, (first, second) = widths.linear, widths.planes
        self.layers = nn.Sequential(
            nn.Linear(in_features, linear),
            *_normalised(nn.BatchNorm1d(linear), batch_norm),
            nn.Linear(linear, first * 7 * 7),
            *_normalised(nn.BatchNorm1d(first * 7 * 7), batch_norm),
            nn.Unflatten(-1, (first, 7, 7)),
            nn.ConvTranspose2d(first, second, 4, stride=2, padding=1),
            *_normalised(nn.BatchNorm2d(second), batch_norm),
            nn.ConvTranspose2d(second, 1, 4, stride=2, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Maps latents (..., in_features) to logits (..., 28, 28)."""
        image: Tensor = self.layers(latents.reshape(-1, latents.shape[-1]))
        return image.reshape(*latents.shape[:-1], 28, 28)


class Trunk(nn.Module):
    """Convolutions that discriminator and guide share: images to features.

    Args:
        widths: Sizes of the layers.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        first, second = widths.convolutions
        self.out_features = widths.features
        norms: tuple[nn.Module, nn.Module] = (nn.Identity(), nn.LayerNorm(widths.features))
        if widths.batch_norm:
            norms = nn.BatchNorm2d(second), nn.BatchNorm1d(widths.features)
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(first, second, 4, stride=2, padding=1),
            norms[0],
            nn.LeakyReLU(_SLOPE),
            nn.Flatten(),
            nn.Linear(second * 7 * 7, widths.features),
            norms[1],
            nn.LeakyReLU(_SLOPE),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (..., 28, 28) to features (..., out_features)."""
        features: Tensor = self.layers(image.reshape(-1, 1, 28, 28))
        return features.reshape(*image.shape[:-2], self.out_features)


class Discriminator(nn.Module):
    """The discriminator: images to logits of their being real.

    Args:
        trunk: Network from images to features.
        widths: Sizes of the layers.
    """

    def __init__(self, trunk: Trunk, widths: Widths) -> None:
        super().__init__()
        size, kernels = trunk.out_features, widths.kernels
        self.trunk = trunk
        # Seeing how alike the images of a batch are keeps a small generator from repeating few.
        self.alike = MinibatchDiscrimination(size, kernels=kernels) if kernels else nn.Identity()
        self.last = nn.Linear(size + kernels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (batch, 28, 28) to logits (batch, 1)."""
        logits: Tensor = self.last(self.alike(self.trunk(image)))
        return logits


class Encoder(nn.Module):
    """The guide's network: images to raw parameters of the codes' posteriors.

    Args:
        trunk: Network from images to features.
        out_features: Number of raw parameters.
        widths: Sizes of the layers.
    """

    def __init__(self, trunk: Trunk, out_features: int, widths: Widths) -> None:
        super().__init__()
        self.trunk = trunk
        norm = nn.BatchNorm1d(widths.reading) if widths.batch_norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(trunk.out_features, widths.reading),
            norm,
            nn.LeakyReLU(_SLOPE),
            nn.Linear(widths.reading, out_features),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (..., 28, 28) to raw parameters (..., out_features)."""
        features = self.trunk(image)
        raw: Tensor = self.layers(features.reshape(-1, features.shape[-1]))
        return raw.reshape(*image.shape[:-2], raw.shape[-1])


def _normalised(norm: nn.Module, batch_norm: bool) -> list[nn.Module]:
    return [norm, nn.ReLU()] if batch_norm else [nn.ReLU()]
