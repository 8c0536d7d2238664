"""Minibatch discrimination: a layer that shows how alike the data of a batch are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    r"""A layer that appends to the features of each datum its nearness to the others of the batch.

    A generator that makes one datum again and again has likely data, each by itself, which a
    discriminator of single data can't object to. With features :math:`f_i` of size A and a tensor
    T of shape (A, B, C),

    .. math:: M_i = f_i T, \qquad
        o_{ib} = \frac{N - 1}{n - 1} \sum_{j \ne i} \exp\Big(-\sum_c |M_{ibc} - M_{jbc}|\Big),

    and the output is :math:`(f_i, o_i)`. A datum's own term, which is always 1, is left out, as in
    the authors' code. The factor, 1 for a batch of n = N data, lets batches of other sizes, as at
    an evaluation, have the same features; the authors have none. The layer stands before the last
    one of a discriminator::

        nn.Sequential(features, MinibatchDiscrimination(128, kernels=8), nn.Linear(128 + 8, 1))

    Put it into a branch of the discriminator alone: a guide that shares the layer would read the
    other data of the batch, too. The gradient penalty of ``adversary="wasserstein"`` takes each
    datum by itself, and does not go with it.

    Args:
        in_features: Size A of the features.
        kernels: Number B of nearnesses.
        kernel_dim: Size C of the space in which each of them is measured.
        batch_size: Size N of the batches that the discriminator learns from.

    References:
        Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen (2016), *Improved techniques for
        training GANs*, sec. 3.2.

    Example:
        >>> MinibatchDiscrimination(128, kernels=8)(torch.rand(32, 128)).shape
        torch.Size([32, 136])
    """

    def __init__(
        self, in_features: int, *, kernels: int = 8, kernel_dim: int = 5, batch_size: int = 32
    ) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "kernels": kernels, "kernel_dim": kernel_dim}
        for name, size in {**sizes, "batch_size": batch_size}.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, found {size!r}")
        self.in_features, self.kernels, self.kernel_dim = in_features, kernels, kernel_dim
        self.batch_size = batch_size
        self.weight = nn.Parameter(torch.empty(in_features, kernels * kernel_dim))
        # Features of unit size then differ by about 1 along each kernel, where exp has a slope.
        nn.init.normal_(self.weight, std=1 / (in_features**0.5 * kernel_dim))

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (batch, in_features) to (batch, in_features + kernels)."""
        if features.dim() != 2 or features.shape[1] != self.in_features:
            raise ValueError(
                f"expected features of shape (batch, {self.in_features}), found "
                f"{tuple(features.shape)}: flatten them first"
            )
        places = (features @ self.weight).reshape(-1, self.kernels, self.kernel_dim)
        # Not torch.cdist: its gradient has none, which a gradient penalty would need.
        distances = (places[:, None] - places[None]).abs().sum(-1)
        nearness = distances.neg().exp().sum(1) - 1
        nearness = nearness * ((self.batch_size - 1) / max(1, len(features) - 1))
        return torch.cat([features, nearness], -1)

    def extra_repr(self) -> str:
        """Returns the sizes, for the representation."""
        return (
            f"{self.in_features}, kernels={self.kernels}, kernel_dim={self.kernel_dim}, "
            f"batch_size={self.batch_size}"
        )
