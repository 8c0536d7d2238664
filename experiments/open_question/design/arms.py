"""The arms of the open question: priors of the code with guides that fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

CODE_DIM, NOISE_DIM = 2, 4

ArmName = Literal[
    "G", "P", "T", "B", "L", "R", "G-full", "T-full", "B-full", "L-full", "R-full", "I", "IN"
]


@dataclass(frozen=True)
class Arm:
    """A prior of the code, and its guide."""

    about: str
    """Description in tables."""
    prior: str
    """Name, as in :data:`~pyro_mivae.priors.PRIORS`."""
    posterior: str | None = None
    """The guide's family; None for the prior's first, which factorises."""
    categories: int = 0
    """Categories of a discrete code beside the continuous one; 0 for none."""


ARMS: Mapping[ArmName, Arm] = {
    "G": Arm("Gaussian", "gaussian"),
    "P": Arm("uniform, a normal pushed through its CDF", "probit"),
    "T": Arm("uniform", "uniform"),
    "B": Arm("bimodal", "bimodal"),
    "L": Arm("Laplace", "laplace"),
    "R": Arm("uniform, turned by 45 degrees", "rotated"),
    "G-full": Arm("Gaussian, full covariance", "gaussian", "full-normal"),
    "T-full": Arm("uniform, full covariance", "uniform", "full-logit-normal"),
    "B-full": Arm("bimodal, full covariance", "bimodal", "full-normal"),
    "L-full": Arm("Laplace, full covariance", "laplace", "full-normal"),
    "R-full": Arm("uniform, turned, full covariance", "rotated", "full-logit-normal"),
    "I": Arm("category and uniform", "uniform", categories=10),
    "IN": Arm("category and Gaussian", "gaussian", categories=10),
}
"""By name. What the design calls I0, uniform codes without the category, is T."""


def build(arm: ArmName, *, hidden: Sequence[int], seed: int) -> MIVAE:
    """Builds the model and the guide of an arm, with the weights of a seed.

    Arms whose guides take as many raw numbers start from the same weights.
    """
    chosen = ARMS[arm]
    torch.manual_seed(seed)
    return MIVAE(
        code_dim=CODE_DIM,
        noise_dim=NOISE_DIM,
        categories=chosen.categories,
        prior=chosen.prior,
        posterior=chosen.posterior,
        encoder=partial(MLPEncoder, hidden=tuple(hidden)),
        decoder=partial(MLPDecoder, hidden=tuple(hidden)),
    )
