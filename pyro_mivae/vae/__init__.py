"""The poster's VAE: a code site, a noise site, and networks, likelihoods and modules for it."""

from pyro_mivae.vae.mivae import MIVAE, Network

__all__ = ["MIVAE", "Network"]
