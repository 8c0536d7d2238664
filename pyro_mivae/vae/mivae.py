"""The VAE of the poster: latent sites for a code ``"c"`` and noise ``"z"``, and data ``"x"``.

With InfoGAN's structure a category ``"d"`` is a code, too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from pyro_mivae.checks import check_count
from pyro_mivae.priors import CategoricalPrior, Prior, make_prior
from pyro_mivae.vae.likelihoods import LIKELIHOODS, Likelihood
from pyro_mivae.vae.modules import Generator, Recognizer
from pyro_mivae.vae.networks import (
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
)

Network = str | nn.Module | Callable[[int], nn.Module]


class MIVAE(nn.Module):
    r"""A VAE whose latents are split into a code c and noise z and, on request, a category d.

    .. math::

        p(c)\,p(z)\,p(d)\,p(x|c,z,d), \qquad q(c|x)\,q(z|x)\,q(d|x)

    `model` and `guide` are modules; they train with :class:`pyro.infer.SVI`, as
    ``elbo(vae.model, vae.guide)`` with a torch optimiser, or with
    :func:`pyro_mivae.training.fit`. Sites: ``"c"``, ``"z"`` (if `noise_dim` > 0), ``"d"``
    (if `categories` > 0) and ``"x"``, in the plate ``"data"``.

    Args:
        code_dim: Number of dimensions of the code c.
        noise_dim: Number of dimensions of the noise z; 0 leaves the site out.
        categories: Number of categories of the discrete code d, a one-hot vector whose values are
            equally likely, as in InfoGAN (Chen et al. 2016, sec. 7.2); 0 leaves the site out. Train
            it with ``vae.guide.enumerated()`` and the base ``TraceEnum_ELBO(max_plate_nesting=1)``,
            which sums it out. With other bases its draws pass a biased gradient, from which models
            of digits did not learn to use it.
        prior: Prior p(c), or its name (see :data:`~pyro_mivae.priors.PRIORS`).
        noise_prior: Prior p(z), or its name.
        posterior: Guide family of the code, by name; None for the prior's default.
        noise_posterior: Guide family of the noise, by name; None for the prior's default.
        likelihood: Likelihood p(x|c, z), or its name (see
            :data:`~pyro_mivae.vae.likelihoods.LIKELIHOODS`).
        encoder: ``"mlp"`` (the poster's), ``"conv"``, a module from images ``(...,
            *image_shape)`` to the posteriors' raw parameters, or a callable that makes one from
            their number.
        decoder: ``"mlp"``, ``"conv"``, a module from ``(..., code_dim + noise_dim +
            categories)`` to images, or a callable that makes one from the number of its inputs.
        image_shape: (height, width), or (channels, height, width), as (3, 32, 32) for colours.

    Raises:
        TypeError: If `image_shape` holds anything but whole numbers.
        ValueError: If a name is unknown, a prior's dimension does not fit, or `image_shape` is
            neither two nor three positive numbers.

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
        likelihood: str | Likelihood = "bernoulli",
        encoder: Network = "mlp",
        decoder: Network = "mlp",
        image_shape: Sequence[int] = (28, 28),
    ) -> None:
        super().__init__()
        code_dim = check_count("code_dim", code_dim)
        noise_dim = check_count("noise_dim", noise_dim, least=0)
        categories = check_count("categories", categories, least=0)
        image_shape = _shape(image_shape)
        priors = {"c": _prior("prior", prior, "code_dim", code_dim)}
        families = {"c": priors["c"].posterior(posterior)}
        if noise_dim:
            priors["z"] = _prior("noise_prior", noise_prior, "noise_dim", noise_dim)
            families["z"] = priors["z"].posterior(noise_posterior)
        if categories:
            priors["d"] = CategoricalPrior(categories)
            families["d"] = priors["d"].posterior()
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
            image_shape,
        )

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood p(x|c, z)."""
        return self.model.likelihood

    def observe(self, images: Tensor) -> Tensor:
        """Makes the data x of uint8 images, in the model's dtype.

        Args:
            images: Shape ``(N, *image_shape)``, or one image ``image_shape``.

        Raises:
            TypeError: If the images are not uint8.
            ValueError: If the images have another shape than the networks.
        """
        shape, lead = self.image_shape, images.dim() - len(self.image_shape)
        if lead not in (0, 1) or tuple(images.shape[lead:]) != shape:
            raise ValueError(
                f"expected images of shape (N, {', '.join(map(str, shape))}), found "
                f"{tuple(images.shape)}{_remedy(tuple(images.shape), shape)}. Another size is set "
                "by MIVAE(image_shape=...)"
            )
        return self.likelihood.observe(images).to(self.model.latent_loc.dtype)

    @property
    def priors(self) -> dict[str, Prior]:
        """The priors p(c), p(z), p(d), by site."""
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
    image_shape: tuple[int, ...],
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
    module: nn.Module = choices[network](size, image_shape=image_shape)
    return module


def _shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in image_shape)
    except TypeError as error:
        raise TypeError(
            "image_shape: expected whole numbers, (height, width) or (channels, height, width), "
            f"found {image_shape!r}"
        ) from error
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            "image_shape: expected (height, width) or (channels, height, width) of positive "
            f"numbers, as (28, 28) or (3, 32, 32), found {image_shape!r}"
        )
    return shape


def _remedy(images: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What turns images of another layout into those of a shape, "" where nothing does."""
    if len(shape) == 2 and len(images) == 4 and images[2:] == shape:
        if images[1] == 1:
            return ": take the channel off, images.squeeze(1)"
        return f": keep the channels by MIVAE(image_shape={images[1:]})"
    if len(shape) == 2 and len(images) == 4 and images[1:3] == shape:
        channels = (images[3], *shape)
        return (
            ": put the channels before height and width, images.permute(0, 3, 1, 2), and set "
            f"MIVAE(image_shape={channels})"
        )
    if len(shape) == 3 and images[1:] == (*shape[1:], shape[0]):
        return ": put the channels before height and width, images.permute(0, 3, 1, 2)"
    if len(shape) == 3 and shape[0] == 1 and images[1:] == shape[1:]:
        return ": add the channel, images.unsqueeze(1)"
    return ""
