"""Measuring information: bounds from both sides, decompositions, dimensions, log-evidence."""

from pyro_mivae.information.aggregate import (
    AggregateInformation,
    aggregate_information,
    pairwise_information,
)
from pyro_mivae.information.by_dimension import per_dimension
from pyro_mivae.information.decomposition import ElboDecomposition, elbo_decomposition
from pyro_mivae.information.dimension_terms import kl_per_dimension, mi_per_dimension
from pyro_mivae.information.estimate import Estimate
from pyro_mivae.information.evidence import LogEvidence, log_evidence
from pyro_mivae.information.two_sided import Sandwich, sandwich

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
