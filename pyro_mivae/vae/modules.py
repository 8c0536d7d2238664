"""The model and the guide of the VAE, each a module."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pyro
import torch
from pyro.distributions import Distribution
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn

from pyro_mivae.priors import Prior
from pyro_mivae.priors.families import Posterior
from pyro_mivae.vae.likelihoods import Likelihood

_numbers = itertools.count()


def _register(name: str, module: nn.Module) -> None:
    """Registers a module's parameters in Pyro's store, for SVI; not where they stay local (fit).

    The store knows parameters by name. Without a name of its own, a second model in the same
    process would silently take the weights of the first.
    """
    if not pyro.settings.get("module_local_params"):
        pyro.module(name, module)


def _broadcast(latents: tuple[Tensor, ...]) -> list[Tensor]:
    """Gives latents one lead; an enumerated site has a dimension that others lack."""
    leads = {value.shape[:-1] for value in latents}
    if len(leads) == 1:  # a small training step feels every operation
        return list(latents)
    lead = broadcast_shape(*leads)
    return [value.expand(*lead, value.shape[-1]) for value in latents]


class Generator(nn.Module):
    r"""The model :math:`p(c)\,p(z)\,p(d)\,p(x|c,z,d)` of a :class:`~pyro_mivae.vae.MIVAE`.

    Args:
        priors: Prior of each latent, by site.
        decoder: Module from latents to what the likelihood reads.
        likelihood: Likelihood p(x|c, z, d).
        image_shape: Shape of one image, (height, width) or (channels, height, width).
    """

    latent_loc: Tensor
    latent_scale: Tensor

    def __init__(
        self,
        priors: dict[str, Prior],
        decoder: nn.Module,
        likelihood: Likelihood,
        image_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.image_shape = torch.Size(image_shape)
        self.name = f"generator{next(_numbers)}"
        self.priors = nn.ModuleDict(priors)
        self.decoder = decoder
        self.likelihood = likelihood
        # The decoder sees latents in units of their prior's spread at the start: with the
        # raw values a uniform code beside a Gaussian noise learns late or never.
        with torch.no_grad():
            starts = [prior() for prior in priors.values()]
            loc, scale = (torch.cat([getattr(p, m) for p in starts]) for m in ("mean", "stddev"))
        self.register_buffer("latent_loc", loc)
        self.register_buffer("latent_scale", scale)
        self._standard = bool((loc == 0).all() and (scale == 1).all())

    def decode(self, *latents: Tensor) -> Distribution:
        """Returns p(x|c, z, d), batch_shape ``(..., batch)``, event_shape the image's.

        Args:
            latents: Values of the sites in the order of the priors, (..., dim) each, whose leading
                dimensions broadcast.

        Raises:
            ValueError: If decoder and likelihood make images of another shape.
        """
        latent = torch.cat(_broadcast(latents), -1)
        if not self._standard:
            latent = (latent - self.latent_loc) / self.latent_scale
        distribution: Distribution = self.likelihood(self.decoder(latent))
        # Pixels that are no event yet, as the channels of a likelihood for (height, width).
        if len(distribution.event_shape) < len(self.image_shape):
            lacking = len(self.image_shape) - len(distribution.event_shape)
            distribution = distribution.to_event(min(lacking, len(distribution.batch_shape)))
        shape = distribution.batch_shape + distribution.event_shape
        if shape != latent.shape[:-1] + self.image_shape:
            sizes = ", ".join(map(str, self.image_shape))
            raise ValueError(
                f"decoder and likelihood: expected {tuple(latent.shape[:-1])} images of the shape "
                f"({sizes}), which is image_shape, found the shape {tuple(shape)}. Let the decoder "
                f"map latents (..., {latent.shape[-1]}) to (..., {sizes}), or set "
                "MIVAE(image_shape=...)"
            )
        return distribution

    def forward(self, x: Tensor) -> Tensor:
        """Generates x, shape ``(batch, *image_shape)``; observed in the ELBO."""
        _register(self.name, self)
        with pyro.plate("data", len(x), dim=-1, device=x.device):
            latents = [pyro.sample(name, prior()) for name, prior in self.priors.items()]
            drawn: Tensor = pyro.sample("x", self.decode(*latents), obs=x)
        return drawn


class Recognizer(nn.Module):
    r"""The guide :math:`q(c|x)\,q(z|x)\,q(d|x)` of a :class:`~pyro_mivae.vae.MIVAE`."""

    def __init__(self, posteriors: dict[str, Posterior], encoder: nn.Module) -> None:
        super().__init__()
        self.name = f"recognizer{next(_numbers)}"
        self.infer: dict[str, dict[str, Any]] = {}
        self.posteriors = nn.ModuleDict(posteriors)
        self.encoder = encoder

    def encode(self, x: Tensor) -> dict[str, Distribution]:
        """Returns q(c|x), q(z|x), q(d|x), batch_shape ``(..., batch)``, event_shape ``(dim,)``."""
        families: Any = self.posteriors
        sizes = [q.num_raw for q in families.values()]
        raw = self.encoder(x).split(sizes, -1)
        return {name: q(part) for (name, q), part in zip(families.items(), raw, strict=True)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Draws the latents of x, shape ``(batch, *image_shape)``."""
        _register(self.name, self)
        with pyro.plate("data", len(x), dim=-1, device=x.device):
            return {
                name: pyro.sample(name, q, infer=self.infer.get(name))
                for name, q in self.encode(x).items()
            }

    def enumerated(self) -> Recognizer:
        """Makes a guide of the same parameters whose category ``TraceEnum_ELBO`` sums out."""
        twin = copy.copy(self)
        twin.infer = {"d": {"enumerate": "parallel"}}
        return twin
