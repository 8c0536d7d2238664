"""Measuring information: bounds from both sides, decompositions, log-evidence."""

from pyro_mivae.information.dimensions import kl_per_dimension, mi_per_dimension
from pyro_mivae.information.estimate import Estimate
from pyro_mivae.information.evidence import LogEvidence, log_evidence
from pyro_mivae.information.sandwich import Sandwich, sandwich

__all__ = [
    "Estimate",
    "LogEvidence",
    "Sandwich",
    "kl_per_dimension",
    "log_evidence",
    "mi_per_dimension",
    "sandwich",
]
