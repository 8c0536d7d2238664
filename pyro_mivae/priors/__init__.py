"""Priors of a code, and the guide families that live on their support.

A prior owns its distribution p(c) *and* the families that its guide may take, because Pyro does
not notice a guide on another support: losses stay finite until a draw leaves the prior's support.
To add a prior, write one subclass of :class:`Prior` and name it in :data:`PRIORS`.

``scale`` is always a standard deviation, and log-densities and divergences are in nats.
"""

from __future__ import annotations

from typing import Any

from pyro_mivae.priors.base import Prior
from pyro_mivae.priors.bounded import ProbitPrior, RotatedUniformPrior, UniformPrior
from pyro_mivae.priors.categorical import CategoricalPrior
from pyro_mivae.priors.unbounded import (
    BimodalPrior,
    GaussianPrior,
    LaplacePrior,
    MixturePrior,
)

__all__ = [
    "PRIORS",
    "BimodalPrior",
    "CategoricalPrior",
    "GaussianPrior",
    "LaplacePrior",
    "MixturePrior",
    "Prior",
    "ProbitPrior",
    "RotatedUniformPrior",
    "UniformPrior",
    "make_prior",
]

PRIORS: dict[str, type[Prior]] = {
    "gaussian": GaussianPrior,
    "uniform": UniformPrior,
    "laplace": LaplacePrior,
    "mixture": MixturePrior,
    "bimodal": BimodalPrior,
    "probit": ProbitPrior,
    "rotated": RotatedUniformPrior,
}
"""The priors of a continuous code by name."""


def make_prior(name: str, dim: int, **options: Any) -> Prior:
    """Makes the prior of this name.

    Args:
        name: Name of the prior, a key of :data:`PRIORS`.
        dim: Number of dimensions of the code.
        options: Keywords of the prior's class.

    Example:
        >>> prior = make_prior("uniform", 2, low=0, high=1)
        >>> prior.posterior("beta")(torch.zeros(7, 4)).batch_shape
        torch.Size([7])
    """
    if name not in PRIORS:
        raise ValueError(f"unknown prior {name!r}: expected one of {', '.join(PRIORS)}")
    return PRIORS[name](dim, **options)
