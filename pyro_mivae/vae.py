"""The VAE of the poster: latent sites for a code ``"c"`` and noise ``"z"``, and data ``"x"``.

With InfoGAN's structure a category ``"d"`` is a code, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pyro
import pyro.nn.module
import torch
from pyro.distributions import Distribution
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn

from pyro_mivae.families import Posterior
from pyro_mivae.likelihoods import LIKELIHOODS, Likelihood
from pyro_mivae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from pyro_mivae.priors import CategoricalPrior, Prior, make_prior

Network = str | nn.Module | Callable[[int], nn.Module]


_numbers = itertools.count()


def _register(name: str, module: nn.Module) -> None:
    """Tells Pyro's store of a module's parameters, for SVI; not where they stay local (fit).

    The store knows them by name: without one of its own a second model in the same
    process would silently take the weights of the first.
    """
    # What pyro.settings.get("module_local_params") reads, at a tenth of its time.
    if not pyro.nn.module._MODULE_LOCAL_PARAMS:
        pyro.module(name, module)


def _broadcast(latents: tuple[Tensor, ...]) -> list[Tensor]:
    """The latents with one lead; an enumerated site has a dimension that others lack."""
    leads = {value.shape[:-1] for value in latents}
    if len(leads) == 1:  # a small training step feels every operation
        return list(latents)
    lead = broadcast_shape(*leads)
    return [value.expand(*lead, value.shape[-1]) for value in latents]


class Generator(nn.Module):
    r"""The model :math:`p(c)\,p(z)\,p(d)\,p(x|c,z,d)`; see :class:`MIVAE` for the arguments."""

    latent_loc: Tensor
    latent_scale: Tensor

    def __init__(
        self, priors: dict[str, Prior], decoder: nn.Module, likelihood: Likelihood
    ) -> None:
        super().__init__()
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
        """p(x|c, z, d), batch_shape ``(..., batch)``, event_shape the image's.

        Args:
            latents: Values of the sites in the order of the priors, (..., dim) each, whose leading
                dimensions broadcast.
        """
        latent = torch.cat(_broadcast(latents), -1)
        if not self._standard:
            latent = (latent - self.latent_loc) / self.latent_scale
        distribution: Distribution = self.likelihood(self.decoder(latent))
        return distribution

    def forward(self, x: Tensor) -> Tensor:
        """Generates x, shape ``(batch, height, width)``; observed in the ELBO."""
        _register(self.name, self)
        with pyro.plate("data", len(x), dim=-1, device=x.device):
            latents = [pyro.sample(name, prior()) for name, prior in self.priors.items()]
            drawn: Tensor = pyro.sample("x", self.decode(*latents), obs=x)
        return drawn


class Recognizer(nn.Module):
    r"""The guide :math:`q(c|x)\,q(z|x)\,q(d|x)`; see :class:`MIVAE` for the arguments."""

    def __init__(self, posteriors: dict[str, Posterior], encoder: nn.Module) -> None:
        super().__init__()
        self.name = f"recognizer{next(_numbers)}"
        self.posteriors = nn.ModuleDict(posteriors)
        self.encoder = encoder

    def encode(self, x: Tensor) -> dict[str, Distribution]:
        """q(c|x), q(z|x), q(d|x), each of batch_shape ``(..., batch)``, event_shape ``(dim,)``."""
        families: Any = self.posteriors
        sizes = [q.num_raw for q in families.values()]
        raw = self.encoder(x).split(sizes, -1)
        return {name: q(part) for (name, q), part in zip(families.items(), raw, strict=True)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Draws the latents of x, shape ``(batch, height, width)``."""
        _register(self.name, self)
        with pyro.plate("data", len(x), dim=-1, device=x.device):
            return {name: pyro.sample(name, q) for name, q in self.encode(x).items()}


class MIVAE(nn.Module):
    r"""A VAE whose latents are split into a code c and noise z and, if asked for, a category d.

    .. math::

        p(c)\,p(z)\,p(d)\,p(x|c,z,d), \qquad q(c|x)\,q(z|x)\,q(d|x)

    `model` and `guide` are modules; they train with :class:`pyro.infer.SVI`, as
    ``elbo(vae.model, vae.guide)`` with a torch optimiser, or with
    :func:`pyro_mivae.training.fit`. Sites: ``"c"``, ``"z"`` (if `noise_dim` > 0), ``"d"``
    (if `categories` > 0) and ``"x"``, in the plate ``"data"``.

    Args:
        code_dim: Dimensions of the code c.
        noise_dim: Dimensions of the noise z; 0 leaves the site out.
        categories: Of the discrete code d, a one-hot vector whose values are equally likely, as
            in InfoGAN (Chen et al. 2016, sec. 7.2); 0 leaves the site out.
        prior: p(c), by name (see :data:`~pyro_mivae.priors.PRIORS`) or a prior.
        noise_prior: p(z), likewise.
        posterior: Guide family of the code, by name; None for the prior's default.
        noise_posterior: Guide family of the noise, likewise.
        category_posterior: Guide family of the category: ``"gumbel"``, whose draws pass a gradient,
            or ``"one-hot"``, to be enumerated (``elbo=TraceEnum_ELBO(max_plate_nesting=1)`` and
            ``pyro.infer.config_enumerate(vae.guide)``).
        likelihood: p(x|c, z), by name (see :data:`~pyro_mivae.likelihoods.LIKELIHOODS`) or a
            likelihood.
        encoder: ``"mlp"`` (the poster's), ``"conv"``, a module from images ``(..., height,
            width)`` to the posteriors' raw parameters, or a callable that makes one from
            their number.
        decoder: ``"mlp"``, ``"conv"``, a module from ``(..., code_dim + noise_dim +
            categories)`` to images, or a callable that makes one from the number of its inputs.
        image_shape: Height and width.

    Raises:
        ValueError: If a name is unknown or a prior's dimension does not fit.

    References:
        Kingma and Welling (2014), *Auto-encoding variational Bayes*; Ducau and Trénous
        (2016), *Mutual information in variational autoencoders*; Chen, Duan, Houthooft,
        Schulman, Sutskever and Abbeel (2016), *InfoGAN*.
    """

    def __init__(
        self,
        *,
        code_dim: int = 5,
        noise_dim: int = 5,
        categories: int = 0,
        prior: str | Prior = "gaussian",
        noise_prior: str | Prior = "gaussian",
        posterior: str | None = None,
        noise_posterior: str | None = None,
        category_posterior: str | None = None,
        likelihood: str | Likelihood = "bernoulli",
        encoder: Network = "mlp",
        decoder: Network = "mlp",
        image_shape: tuple[int, int] = (28, 28),
    ) -> None:
        super().__init__()
        priors = {"c": _prior("prior", prior, "code_dim", code_dim)}
        families = {"c": priors["c"].posterior(posterior)}
        if noise_dim:
            priors["z"] = _prior("noise_prior", noise_prior, "noise_dim", noise_dim)
            families["z"] = priors["z"].posterior(noise_posterior)
        if categories:
            priors["d"] = CategoricalPrior(categories)
            families["d"] = priors["d"].posterior(category_posterior)
        if isinstance(likelihood, str):
            if likelihood not in LIKELIHOODS:
                choices = ", ".join(LIKELIHOODS)
                raise ValueError(f"unknown likelihood {likelihood!r}: expected one of {choices}")
            likelihood = LIKELIHOODS[likelihood]()
        num_latent = sum(prior.dim for prior in priors.values())
        num_raw = sum(q.num_raw for q in families.values())
        encoders = {"mlp": MLPEncoder, "conv": ConvEncoder}
        decoders = {"mlp": MLPDecoder, "conv": ConvDecoder}
        self.image_shape = image_shape
        self.guide = Recognizer(
            families, _network("encoder", encoder, encoders, num_raw, image_shape)
        )
        self.model = Generator(
            priors,
            _network("decoder", decoder, decoders, num_latent, image_shape),
            likelihood,
        )

    @property
    def likelihood(self) -> Likelihood:
        """p(x|c, z)."""
        return self.model.likelihood

    def observe(self, images: Tensor) -> Tensor:
        """The data x of uint8 images ``(..., height, width)``, in the model's number format."""
        return self.likelihood.observe(images).to(self.model.latent_loc.dtype)

    @property
    def priors(self) -> dict[str, Prior]:
        """p(c), p(z), p(d), by site."""
        return dict(self.model.priors.items())  # type: ignore[arg-type]

    @property
    def codes(self) -> tuple[str, ...]:
        """The sites that are code: ``"c"`` and, if it is there, ``"d"``."""
        return tuple(site for site in self.priors if site != "z")


def _prior(argument: str, prior: str | Prior, dim_argument: str, dim: int) -> Prior:
    if isinstance(prior, str):
        return make_prior(prior, dim)
    if prior.dim != dim:
        raise ValueError(f"{argument} has {prior.dim} dimensions, but {dim_argument} is {dim}")
    return prior


def _network(
    argument: str,
    network: Network,
    choices: dict[str, Any],
    size: int,
    image_shape: tuple[int, int],
) -> nn.Module:
    if isinstance(network, nn.Module):
        return network
    if callable(network):
        return network(size)
    if network not in choices:
        raise ValueError(
            f"unknown {argument} {network!r}: expected one of {', '.join(choices)}, a module or "
            "a callable"
        )
    made: nn.Module = choices[network](size, image_shape=image_shape)
    return made
