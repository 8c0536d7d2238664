"""The models of the cells: one generator, one trunk and one code for GAN and VAE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO
from torch import nn

from experiments.infogan_study.design.cells import Prior, Term, Training
from experiments.infogan_study.jobs.shared_trunk import SharedTrunkGAN
from pyro_mivae.gan import InfoGAN
from pyro_mivae.gan.networks import WIDTHS, Decoder, Encoder, Trunk
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.vae import MIVAE

CODE_DIM, NOISE_DIM = 2, 4
BETAS = (0.5, 0.999)
RATES = {"model": 1e-3, "reader": 5e-4}
"""Learning rates of the players: the generator, and the discriminator with Q."""
VAE_RATE = 1e-3
WEIGHTS: Mapping[tuple[Training, Term], float] = {
    ("gan", "off"): 0.0,
    ("gan", "infogan"): 1.0,
    ("gan", "learnt"): 0.1,
    ("vae", "off"): 0.0,
    ("vae", "infogan"): 1.0,
    ("vae", "learnt"): 1.0,
}
"""Weight of the term on the codes."""
CATEGORY_WEIGHTS: Mapping[Training, float] = {"gan": 1.0, "vae": 10.0}
"""Weight of the term on the category. Under the likelihood it is 10 since the pre-check: with 1 all
VAEs left the category unused, with 5 one of six."""
CODE_SCALE = 1.0
"""Standard deviation by which InfoGAN's form scores the codes."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A model and its guide, with the objective of their training.

    Attributes:
        module: The networks of both.
        guide: The guide as it is trained: it sums out a category under a likelihood.
        objective: The objective.
        optimizer: Adam, for a GAN by player.
    """

    module: InfoGAN | MIVAE
    guide: nn.Module
    objective: TraceMI_GAN | TraceMI_ELBO
    optimizer: Any

    @property
    def adversarial(self) -> bool:
        """Whether it is trained with an adversary."""
        return isinstance(self.objective, TraceMI_GAN)


def build(training: Training, categories: int, prior: Prior, term: Term, *, seed: int) -> Pair:
    """Builds a pair with the weights of a seed.

    Args:
        training: Adversarial, or by the likelihood.
        categories: Number of categories; 0 for none.
        prior: Prior of the codes.
        term: Term on the codes.
        seed: Seed of the initial weights.
    """
    torch.manual_seed(seed)
    own = {"c": WEIGHTS[training, term], "d": CATEGORY_WEIGHTS[training]}
    scale = {"c": CODE_SCALE} if term == "infogan" else None
    if training == "gan":
        gan = InfoGAN(prior=prior, code_dim=CODE_DIM, categories=categories, noise_dim=NOISE_DIM)
        adversary = SharedTrunkGAN(
            gan.discriminator,
            codes=gan.codes,
            mi_weight={site: own[site] for site in gan.codes},
            code_scale=scale,
        )
        optimizers = {
            player: partial(torch.optim.Adam, lr=rate, betas=BETAS, fused=True)
            for player, rate in RATES.items()
        }
        return Pair(gan, gan.guide, adversary, optimizers)
    vae = build_vae(prior, categories)
    elbo = TraceMI_ELBO(
        channel="straight-through",
        codes=vae.codes,
        mi_weight={site: own[site] for site in vae.codes},
        code_scale=scale,
        # A category is summed out: with a gradient through its draws it stays unused.
        elbo=TraceEnum_ELBO(max_plate_nesting=1) if categories else None,
    )
    guide = vae.guide.enumerated() if categories else vae.guide
    return Pair(vae, guide, elbo, partial(torch.optim.Adam, lr=VAE_RATE, betas=BETAS, fused=True))


def build_vae(prior: Prior, categories: int) -> MIVAE:
    """Builds a VAE of the GAN's networks: its generator without normalisation by the batch.

    The encoder is the GAN's trunk with the head of Q.

    Args:
        prior: Prior of the codes.
        categories: Number of categories; 0 for none.
    """
    widths = WIDTHS["small"]
    return MIVAE(
        code_dim=CODE_DIM,
        noise_dim=NOISE_DIM,
        categories=categories,
        prior=prior,
        encoder=lambda size: Encoder(Trunk(widths), size, widths),
        decoder=lambda size: Decoder(size, widths, batch_norm=False),
    )
