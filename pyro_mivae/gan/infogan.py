"""InfoGAN's model, guide and discriminator, as a pair for Pyro and an objective."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_mivae.gan.networks import WIDTHS, Decoder, Discriminator, Encoder, Size, Trunk
from pyro_mivae.priors import CategoricalPrior, make_prior
from pyro_mivae.priors.base import Prior
from pyro_mivae.vae.likelihoods import Grey
from pyro_mivae.vae.modules import Generator, Recognizer

IMAGE_SHAPE = (28, 28)


class InfoGAN(nn.Module):
    """InfoGAN: a model, a guide of its codes, and a discriminator.

    The model has two uniform codes ``"c"``, a category ``"d"`` and noise ``"z"``, and observes the
    grey values ``"x"``; through the channel ``"mean"`` its decoder is the generator. The guide has
    the codes only. The discriminator's trunk is the guide's, too.

    Args:
        prior: Name of the prior of the continuous codes.
        code_dim: Number of continuous codes.
        categories: Number of categories; 0 for none.
        noise_prior: Name of the prior of the noise.
        noise_dim: Dimensions of the noise.
        size: Sizes of the networks.
        shared_trunk: Whether discriminator and guide share their convolutions.

    Attributes:
        codes: Names of the code sites.
        num_categories: Number of categories.
        model: The Pyro model.
        guide: Its guide.
        discriminator: Module from images to logits.

    References:
        Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel (2016), *InfoGAN*.
    """

    model: Generator
    guide: Recognizer
    discriminator: Discriminator

    def __init__(
        self,
        *,
        prior: str = "uniform",
        code_dim: int = 2,
        categories: int = 10,
        noise_prior: str = "gaussian",
        noise_dim: int = 4,
        size: Size = "small",
        shared_trunk: bool = True,
    ) -> None:
        super().__init__()
        widths = WIDTHS[size]
        priors: dict[str, Prior] = {
            "c": make_prior(prior, code_dim),
            "z": make_prior(noise_prior, noise_dim),
        }
        if categories:
            priors["d"] = CategoricalPrior(categories)
        self.codes = ("c", "d") if categories else ("c",)
        self.num_categories = categories
        families = {site: priors[site].posterior() for site in self.codes}
        decoder = Decoder(sum(p.dim for p in priors.values()), widths)
        self.model = Generator(priors, decoder, Grey(), IMAGE_SHAPE)
        trunk = Trunk(widths)
        self.discriminator = Discriminator(trunk, widths)
        num_raw = sum(family.num_raw for family in families.values())
        reading = trunk if shared_trunk else Trunk(widths)
        self.guide = Recognizer(families, Encoder(reading, num_raw, widths))

    @property
    def priors(self) -> dict[str, Prior]:
        """The priors by site, in the order of the generator's input."""
        return dict(self.model.priors.items())  # type: ignore[arg-type]

    def observe(self, images: Tensor) -> Tensor:
        """Makes the data x, grey values in [0, 1], of uint8 images (N, 28, 28)."""
        return self.model.likelihood.observe(images)
