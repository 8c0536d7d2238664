"""The figures of a run, drawn from plain data: a history and ArviZ's groups, never a model.

Each function returns a :class:`matplotlib.figure.Figure` of its own, to be shown by a notebook or
kept by ``figure.savefig``: pyplot, the backend and Matplotlib's settings are left alone.
"""

from pyro_mivae.plotting.categories import categories, categories_by_class
from pyro_mivae.plotting.figures import (
    codes_by_class,
    prior_samples,
    reconstructions,
    redraw,
    training_curves,
    traversals,
)
from pyro_mivae.plotting.information import (
    dimension_use,
    information_bars,
    information_curves,
    pairwise_information,
)
from pyro_mivae.plotting.sweep import sweep_curves

__all__ = [
    "categories",
    "categories_by_class",
    "codes_by_class",
    "dimension_use",
    "information_bars",
    "information_curves",
    "pairwise_information",
    "prior_samples",
    "reconstructions",
    "redraw",
    "sweep_curves",
    "training_curves",
    "traversals",
]
