"""The sparse gamma deep exponential family, small."""

import pyro
import pyro.distributions as dist
import torch
from structure import Net, Pair, Structure
from torch import nn

VOCABULARY = 3


WIDTH = 2


class SparseGamma(nn.Module):
    """Three layers of Gamma latents over counts.

    In Pyro's example the guide has parameters of its own for each datum, and reads no data: there
    is no information to bound. Here it reads them.
    """

    def __init__(self):
        super().__init__()
        self.encoder = Net(VOCABULARY, *[WIDTH] * 6)

    def model(self, x):
        weights = {}
        for layer, size in {"top": WIDTH**2, "mid": WIDTH**2, "bottom": WIDTH * VOCABULARY}.items():
            with pyro.plate(f"w_{layer}_plate", size):
                weights[layer] = pyro.sample(f"w_{layer}", dist.Gamma(2.0, 2.0))
        with pyro.plate("data", x.size(0)):
            ones = torch.ones(WIDTH)
            z = pyro.sample("z_top", dist.Gamma(2 * ones, 1.0).to_event(1))
            mean = z @ weights["top"].reshape(WIDTH, WIDTH)
            z = pyro.sample("z_mid", dist.Gamma(2 * ones, 2.0 / mean).to_event(1))
            mean = z @ weights["mid"].reshape(WIDTH, WIDTH)
            z = pyro.sample("z_bottom", dist.Gamma(2 * ones, 2.0 / mean).to_event(1))
            mean = z @ weights["bottom"].reshape(WIDTH, VOCABULARY)
            pyro.sample("obs", dist.Poisson(mean).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        softplus = nn.functional.softplus
        for layer, size in {"top": WIDTH**2, "mid": WIDTH**2, "bottom": WIDTH * VOCABULARY}.items():
            shape = softplus(pyro.param(f"shape_{layer}", 2 * torch.ones(size)))
            mean = softplus(pyro.param(f"mean_{layer}", torch.ones(size)))
            with pyro.plate(f"w_{layer}_plate", size):
                pyro.sample(f"w_{layer}", dist.Gamma(shape, shape / mean))
        with pyro.plate("data", x.size(0)):
            outputs = [0.1 + softplus(output) for output in self.encoder((1 + x).log())]
            for layer, shape, mean in zip(
                ("top", "mid", "bottom"), outputs[:3], outputs[3:], strict=True
            ):
                pyro.sample(f"z_{layer}", dist.Gamma(shape, shape / mean).to_event(1))


def build_sparse_gamma(size):
    gamma = SparseGamma()
    return Pair(gamma.model, gamma.guide, (torch.poisson(2 * torch.ones(size, VOCABULARY)),), size)


STRUCTURES = [
    Structure(
        "sparse gamma",
        build_sparse_gamma,
        lambda generated, args: (generated["obs"],),
        ("obs",),
        codes=["z_top", "z_mid", "z_bottom"],
        sandwich="'z_mid' depends on .'w_top'",
        base="Trace",
        decoder=None,
        repeats=60,
    ),
]
