"""Pyro's own idiom: `SVI`, `pyro.optim.Adam` and a `DataLoader`.

The information term enters as a `pyro.factor` of the model, the way to add a term without a
loss of one's own.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.contenders import (
    CODE,
    LATENT,
    SCALE_FLOOR,
    SCALE_SHIFT,
    Problem,
    cycle,
    weights,
)
from benchmarks.contenders.by_hand import (
    device_here,
    load,
    networks,
    wait_for,
)

_numbers = itertools.count()


class VAE(nn.Module):
    """As in Pyro's tutorial on VAEs."""

    def __init__(self, *, mi: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = networks()
        self.mi = mi
        # A second model of the same name would get the weights of the first.
        self.name = f"vae{next(_numbers)}"

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation of q(z|x)."""
        loc, raw = self.encoder(x).chunk(2, -1)
        return loc, F.softplus(raw + SCALE_SHIFT) + SCALE_FLOOR

    def model(self, x: Tensor) -> None:
        """Defines p(z) p(x|z)."""
        pyro.module(self.name, self)
        with pyro.plate("data", x.shape[0]):
            zeros = x.new_zeros(x.shape[0], LATENT)
            z = pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            logits = self.decoder(z)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x.flatten(1))
            if self.mi:
                pyro.factor("mi", self.information(zeros))

    def information(self, zeros: Tensor) -> Tensor:
        """Returns log q(c|x') - log p(c) at a draw of the prior; x' is the decoder's mean."""
        drawn = torch.randn_like(zeros)
        loc, scale = self.encode(torch.sigmoid(self.decoder(drawn)))
        code, prior = drawn[:, :CODE], dist.Normal(zeros[:, :CODE], 1.0)
        posterior = dist.Normal(loc[:, :CODE], scale[:, :CODE])
        ratio: Tensor = (posterior.log_prob(code) - prior.log_prob(code)).sum(-1)
        return ratio

    def guide(self, x: Tensor) -> None:
        """Defines q(z|x)."""
        pyro.module(self.name, self)
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encode(x)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class PyroSVI:
    """See the module."""

    def __init__(self, problem: Problem, jit: bool) -> None:
        pyro.set_rng_seed(0)
        pyro.enable_validation(False)  # as Pyro's tutorial, and as fit after its first step
        self.device = device_here()
        vae = VAE(mi=problem.mi)
        load(vae, weights())
        vae.to(self.device)
        self.batch_size = problem.batch_size
        optimizer = Adam({"lr": problem.learning_rate, "fused": True})
        elbo = JitTrace_ELBO(ignore_jit_warnings=True) if jit else Trace_ELBO()
        self.svi = SVI(vae.model, vae.guide, optimizer, loss=elbo)
        images = torch.from_numpy(np.ascontiguousarray(problem.images))
        self.loader = DataLoader(TensorDataset(images), problem.batch_size, shuffle=True)
        self.next = cycle([torch.from_numpy(p).to(self.device) for p in problem.batches()])

    def update(self, x: Tensor) -> float:
        """Makes one update on a batch."""
        with pyro.settings.context(module_local_params=False), warnings.catch_warnings():
            # torch.jit is deprecated; Pyro's is built on it.
            warnings.filterwarnings("ignore", message=".*torch.jit")
            return float(self.svi.step(x)) / len(x)

    def step(self) -> float:
        """Makes one update on a batch in memory; Pyro reads the loss at each."""
        return self.update(self.next())

    def epoch(self, limit: int | None = None) -> None:
        """Passes over all images by a DataLoader."""
        for (images,) in itertools.islice(self.loader, limit):
            self.update(torch.bernoulli(images.to(self.device) / 255.0))

    def wait(self) -> None:
        """Waits for the device."""
        wait_for(self.device)


def make(problem: Problem, jit: bool = False) -> PyroSVI:
    """Makes the contender."""
    return PyroSVI(problem, jit)
