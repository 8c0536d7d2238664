"""The VAE as a good PyTorch user writes it: loss by hand, fused Adam, data on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contenders import (
    CODE,
    HIDDEN,
    LATENT,
    PIXELS,
    SCALE_FLOOR,
    SCALE_SHIFT,
    Layers,
    Problem,
    cycle,
    weights,
)


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """Makes encoder and decoder; also those of the contenders that take torch modules."""
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(PIXELS, HIDDEN),
        nn.Softplus(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Softplus(),
        nn.Linear(HIDDEN, 2 * LATENT),
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN),
        nn.Softplus(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Softplus(),
        nn.Linear(HIDDEN, PIXELS),
    )
    return encoder, decoder


@torch.no_grad()
def load(module: nn.Module, layers: Layers) -> None:
    """Copies weights into the linear layers, in their order."""
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for part, (weight, bias) in zip(linear, layers, strict=True):
        part.weight.copy_(torch.from_numpy(weight))
        part.bias.copy_(torch.from_numpy(bias))


class HandWritten(nn.Module):
    """The VAE in plain PyTorch."""

    def __init__(self, *, mi: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder = networks()
        self.mi = mi

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation of q(z|x)."""
        loc, raw = self.encoder(x).chunk(2, -1)
        return loc, F.softplus(raw + SCALE_SHIFT) + SCALE_FLOOR

    def forward(self, x: Tensor) -> Tensor:
        """Returns the loss per datum: -log-likelihood + KL - MI of the first half of the code."""
        loc, scale = self.encode(x)
        z = loc + scale * torch.randn_like(scale)
        logits = self.decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        kl = 0.5 * (loc**2 + scale**2 - 2 * scale.log() - 1).sum()
        if not self.mi:
            return (reconstruction + kl) / len(x)
        prior = torch.randn_like(z)
        loc, scale = self.encode(torch.sigmoid(self.decoder(prior)))
        code, loc, scale = prior[:, :CODE], loc[:, :CODE], scale[:, :CODE]
        mi = (0.5 * code**2 - 0.5 * ((code - loc) / scale) ** 2 - scale.log()).sum()
        return (reconstruction + kl - mi) / len(x)


def update(module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> Tensor:
    """Makes one step on a batch; returns its loss."""
    loss: Tensor = module(x)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def device_here() -> torch.device:
    """Returns a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class ByHand:
    """See the module."""

    def __init__(self, problem: Problem) -> None:
        torch.manual_seed(0)
        self.device = device_here()
        self.module = HandWritten(mi=problem.mi)
        load(self.module, weights())
        self.module.to(self.device)
        parameters = self.module.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=problem.learning_rate, fused=True)
        self.batch_size = problem.batch_size
        self.images = torch.from_numpy(np.ascontiguousarray(problem.images)).to(self.device)
        parts = [torch.from_numpy(part).to(self.device) for part in problem.batches()]
        self.next = cycle(parts)

    def update(self, x: Tensor) -> Tensor:
        """Makes one update on a batch."""
        return update(self.module, self.optimizer, x)

    def step(self) -> Tensor:
        """Makes one update on a batch in memory."""
        return self.update(self.next())

    def epoch(self, limit: int | None = None) -> None:
        """Passes over all images, taken by index on the device."""
        order = torch.randperm(len(self.images), device=self.device)
        for index in torch.split(order, self.batch_size)[:limit]:
            self.update(torch.bernoulli(self.images[index] / 255.0))

    def wait(self) -> None:
        """Waits for the device."""
        wait_for(self.device)


def make(problem: Problem) -> ByHand:
    """Makes the contender."""
    return ByHand(problem)
