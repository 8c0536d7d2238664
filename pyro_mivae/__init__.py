"""Train, measure and question mutual information in Pyro latent-variable models.

The names that most programs start with; everything else is in the modules.
"""

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import evaluate, fit
from pyro_mivae.vae import MIVAE

__version__ = "0.1.0"
__all__ = ["MIVAE", "TraceMI_ELBO", "evaluate", "fit"]
