"""A trained pair's draws, images and information as ArviZ reads them."""

from pyro_mivae.inference_data.draws import from_pair
from pyro_mivae.inference_data.mivae import QUANTILES, inference_data
from pyro_mivae.runs.groups import from_run, read, write

__all__ = ["QUANTILES", "from_pair", "from_run", "inference_data", "read", "write"]
