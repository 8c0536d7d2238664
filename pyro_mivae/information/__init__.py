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
from pyro_mivae.information.generator import GeneratorInformation, generator_information
from pyro_mivae.information.generator_quality import ImageQuality, frechet_distance
from pyro_mivae.information.generator_reader import ImageReader, Readings, train_reader
from pyro_mivae.information.generator_scores import CodeInformation, code_information
from pyro_mivae.information.two_sided import Sandwich, sandwich

__all__ = [
    "AggregateInformation",
    "CodeInformation",
    "ElboDecomposition",
    "Estimate",
    "GeneratorInformation",
    "ImageQuality",
    "ImageReader",
    "LogEvidence",
    "Readings",
    "Sandwich",
    "aggregate_information",
    "code_information",
    "elbo_decomposition",
    "frechet_distance",
    "generator_information",
    "kl_per_dimension",
    "log_evidence",
    "mi_per_dimension",
    "pairwise_information",
    "per_dimension",
    "sandwich",
    "train_reader",
]
