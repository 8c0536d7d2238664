"""Distributions for priors and the guides that fit them.

Distributions on a bounded interval never draw an edge, and give the exact density of their own
draws, however far these saturate.
"""

from pyro_mivae.distributions.beta import IntervalBeta, LogitBeta
from pyro_mivae.distributions.correlated import CorrelatedNormal, CorrelatedSquashedNormal
from pyro_mivae.distributions.factorised import Factorised
from pyro_mivae.distributions.interval import (
    IntervalMap,
    IntervalProbit,
    IntervalSigmoid,
    IntervalUniform,
)
from pyro_mivae.distributions.means import posterior_mean
from pyro_mivae.distributions.mixture import NormalMixture
from pyro_mivae.distributions.onehot import GumbelOneHot
from pyro_mivae.distributions.rotated import RotatedPairs, RotatePairs
from pyro_mivae.distributions.squashed import LogitNormal, ProbitNormal, SquashedNormal

__all__ = [
    "CorrelatedNormal",
    "CorrelatedSquashedNormal",
    "Factorised",
    "GumbelOneHot",
    "IntervalBeta",
    "IntervalMap",
    "IntervalProbit",
    "IntervalSigmoid",
    "IntervalUniform",
    "LogitBeta",
    "LogitNormal",
    "NormalMixture",
    "ProbitNormal",
    "RotatePairs",
    "RotatedPairs",
    "SquashedNormal",
    "posterior_mean",
]
