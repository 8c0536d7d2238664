"""InfoGAN for images of 28 x 28: model, guide of its codes, and discriminator."""

from pyro_mivae.gan.infogan import InfoGAN

__all__ = ["InfoGAN"]
