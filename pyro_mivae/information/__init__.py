"""Measuring information: bounds from both sides, decompositions, dimensions, log-evidence."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from pyro_mivae.information.generator.measurement import (
        GeneratorInformation,
        generator_information,
    )
    from pyro_mivae.information.generator.quality import ImageQuality, frechet_distance
    from pyro_mivae.information.generator.reader import ImageReader, Readings, train_reader
    from pyro_mivae.information.generator.scores import CodeInformation, code_information

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

# Scores of factors need scikit-learn, which is slow to import: these are imported on first use.
_GENERATOR = {
    "CodeInformation": "generator.scores",
    "GeneratorInformation": "generator.measurement",
    "ImageQuality": "generator.quality",
    "ImageReader": "generator.reader",
    "Readings": "generator.reader",
    "code_information": "generator.scores",
    "frechet_distance": "generator.quality",
    "generator_information": "generator.measurement",
    "train_reader": "generator.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _GENERATOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_GENERATOR[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_GENERATOR})
