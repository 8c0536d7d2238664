"""Scores of disentanglement: codes, shape ``(N, codes)``, against known factors of variation.

Functions take arrays or tensors and return arrays. Nothing here needs a model, or torch.
"""

from pyro_mivae.disentanglement.binning import bin_columns
from pyro_mivae.disentanglement.classes import ClassMatch, match_classes
from pyro_mivae.disentanglement.evaluation import ceiling, evaluate
from pyro_mivae.disentanglement.interventions import beta_vae_score, factor_vae_score
from pyro_mivae.disentanglement.matrix import MIMatrix, ksg_matrix, mi_matrix, top_factors
from pyro_mivae.disentanglement.overview import summary
from pyro_mivae.disentanglement.predictors import DCI, dci, explicitness
from pyro_mivae.disentanglement.scores import (
    completeness,
    disentanglement,
    modularity,
    mutual_information_gap,
    sap,
)
from pyro_mivae.disentanglement.traversals import TraversalEffects, traversal_effects

__all__ = [
    "DCI",
    "ClassMatch",
    "MIMatrix",
    "TraversalEffects",
    "beta_vae_score",
    "bin_columns",
    "ceiling",
    "completeness",
    "dci",
    "disentanglement",
    "evaluate",
    "explicitness",
    "factor_vae_score",
    "ksg_matrix",
    "match_classes",
    "mi_matrix",
    "modularity",
    "mutual_information_gap",
    "sap",
    "summary",
    "top_factors",
    "traversal_effects",
]
