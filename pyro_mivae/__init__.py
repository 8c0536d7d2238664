"""Train, measure and question mutual information in Pyro latent-variable models."""

__version__ = "0.1.0"
