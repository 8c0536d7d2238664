"""Inference: the ELBO and the adversary with the information term, its channels, its dual pass."""

from pyro_mivae.infer.adversarial.gan import TraceMI_GAN
from pyro_mivae.infer.adversarial.losses import ADVERSARIES, Adversary
from pyro_mivae.infer.adversarial.minibatch import MinibatchDiscrimination
from pyro_mivae.infer.adversarial.players import Players, PlayerStep
from pyro_mivae.infer.compiled.compiled_elbo import CompiledELBO
from pyro_mivae.infer.compiled.compiling import compile_elbo
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import CHANNELS, Channel, straight_through
from pyro_mivae.infer.duality.dual_pair import DualPair, dualize
from pyro_mivae.infer.elbo import TraceMI_ELBO

__all__ = [
    "ADVERSARIES",
    "CHANNELS",
    "Adversary",
    "Channel",
    "CompiledELBO",
    "DataArgs",
    "DualPair",
    "MinibatchDiscrimination",
    "PlayerStep",
    "Players",
    "TraceMI_ELBO",
    "TraceMI_GAN",
    "compile_elbo",
    "dualize",
    "straight_through",
]
