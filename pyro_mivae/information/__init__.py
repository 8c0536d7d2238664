"""Measuring information: bounds from both sides, decompositions, dimensions, log-evidence."""

from pyro_mivae.information.aggregate import (
    AggregateInformation,
    aggregate_information,
    pairwise_information,
)
from pyro_mivae.information.dimensions import kl_per_dimension, mi_per_dimension
from pyro_mivae.information.estimate import Estimate
from pyro_mivae.information.evidence import LogEvidence, log_evidence
from pyro_mivae.information.maps import per_dimension
from pyro_mivae.information.sandwich import Sandwich, sandwich
from pyro_mivae.information.surgery import ElboDecomposition, elbo_decomposition

__all__ = [
    "AggregateInformation",
    "ElboDecomposition",
    "Estimate",
    "LogEvidence",
    "Sandwich",
    "aggregate_information",
    "elbo_decomposition",
    "kl_per_dimension",
    "log_evidence",
    "mi_per_dimension",
    "pairwise_information",
    "per_dimension",
    "sandwich",
]
