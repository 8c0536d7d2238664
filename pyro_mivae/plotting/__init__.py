"""Figures drawn from plain data: a history, or ArviZ's groups, never a model.

Each function returns a :class:`matplotlib.figure.Figure` of its own, to be shown by a notebook or
kept by ``figure.savefig``. pyplot, the backend and Matplotlib's settings are left alone.
"""

from pyro_mivae.extras import extra

with extra("figures"):
    import matplotlib  # noqa: F401 -- before the figures, so that what is missing is named

from pyro_mivae.plotting.category import categories, categories_by_class
from pyro_mivae.plotting.factors_of_codes import measured_traversals, mi_matrices
from pyro_mivae.plotting.information import (
    dimension_use,
    information_bars,
    information_curves,
    pairwise_information,
)
from pyro_mivae.plotting.run import (
    codes_by_class,
    prior_samples,
    reconstructions,
    redraw,
    training_curves,
    traversals,
)

__all__ = [
    "categories",
    "categories_by_class",
    "codes_by_class",
    "dimension_use",
    "information_bars",
    "information_curves",
    "measured_traversals",
    "mi_matrices",
    "pairwise_information",
    "prior_samples",
    "reconstructions",
    "redraw",
    "training_curves",
    "traversals",
]
