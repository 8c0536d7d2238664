"""Inference: the ELBO with the information term, its channels and its dual pass."""

from pyro_mivae.infer.compiled.compiled_elbo import CompiledELBO, compile_elbo
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import CHANNELS, Channel, straight_through
from pyro_mivae.infer.duality.dual_pair import DualPair, dualize
from pyro_mivae.infer.elbo import TraceMI_ELBO

__all__ = [
    "CHANNELS",
    "Channel",
    "CompiledELBO",
    "DataArgs",
    "DualPair",
    "TraceMI_ELBO",
    "compile_elbo",
    "dualize",
    "straight_through",
]
