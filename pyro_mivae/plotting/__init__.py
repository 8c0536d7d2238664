"""Figures drawn from plain data: a history, ArviZ's groups, rows of tables, never a model.

Each function returns a :class:`matplotlib.figure.Figure` of its own, to be shown by a notebook or
kept by ``figure.savefig``: pyplot, the backend and Matplotlib's settings are left alone.
"""

from pyro_mivae.plotting.alignment import (
    interaction_plot,
    measured_traversals,
    mi_matrices,
    top_factors,
)
from pyro_mivae.plotting.categories import categories, categories_by_class
from pyro_mivae.plotting.claims import capacity, dimension_loss, tradeoff
from pyro_mivae.plotting.duality import duality
from pyro_mivae.plotting.factors import factor_distributions
from pyro_mivae.plotting.figures import (
    codes_by_class,
    prior_samples,
    reconstructions,
    redraw,
    training_curves,
    traversals,
)
from pyro_mivae.plotting.forest import forest_plot
from pyro_mivae.plotting.grids import latent_grid, latent_grid_sheet
from pyro_mivae.plotting.information import (
    dimension_use,
    information_bars,
    information_curves,
    pairwise_information,
)
from pyro_mivae.plotting.outcomes import by_init_and_order, information_columns, outcomes
from pyro_mivae.plotting.poster import information_traces
from pyro_mivae.plotting.sweep import sweep_curves

__all__ = [
    "by_init_and_order",
    "capacity",
    "categories",
    "categories_by_class",
    "codes_by_class",
    "dimension_loss",
    "dimension_use",
    "duality",
    "factor_distributions",
    "forest_plot",
    "information_bars",
    "information_columns",
    "information_curves",
    "information_traces",
    "interaction_plot",
    "latent_grid",
    "latent_grid_sheet",
    "measured_traversals",
    "mi_matrices",
    "outcomes",
    "pairwise_information",
    "prior_samples",
    "reconstructions",
    "redraw",
    "sweep_curves",
    "top_factors",
    "tradeoff",
    "training_curves",
    "traversals",
]
