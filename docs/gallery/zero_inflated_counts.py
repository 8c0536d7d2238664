"""Counts with dropouts, as of genes in single cells: a zero-inflated negative binomial VAE."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

GENES, TYPES, CODE = 40, 4, 2


def cells(size):
    """Counts and types of cells: a type raises ten genes; a third of the counts drop to 0."""
    types = torch.arange(size) % TYPES
    rate = 2 + 8 * torch.eye(TYPES).repeat_interleave(GENES // TYPES, 1)[types]
    depth = dist.LogNormal(0.0, 0.3).sample((size, 1))
    counts = dist.GammaPoisson(3.0, 3.0 / (rate * depth)).sample()
    return counts * (torch.rand(size, GENES) > 1 / 3), types


class CountVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(GENES, 64), nn.ReLU(), nn.Linear(64, 2 * CODE))
        self.decode = nn.Sequential(nn.Linear(CODE, 64), nn.ReLU(), nn.Linear(64, 2 * GENES))
        self.log_dispersion = nn.Parameter(torch.zeros(GENES))

    def model(self, x):
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), CODE), 1.0).to_event(1))
            gate, raw = self.decode(z).chunk(2, -1)
            log_mean = 5 * (raw / 5).tanh()  # far codes of the prior: no count overflows
            counts = dist.ZeroInflatedNegativeBinomial(
                gate_logits=gate,
                total_count=self.log_dispersion.exp(),
                logits=log_mean - self.log_dispersion,
            )
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("cells", len(x)):
            loc, log_scale = self.encode(x.log1p()).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def main(steps=3000):
    """Trains, prints the information from both sides, and draws the codes of the cells."""
    pyro.set_rng_seed(0)
    (x, types), vae = cells(2000), CountVAE()
    elbo = TraceMI_ELBO(channel="straight-through", codes="z", mi_weight=0.1)
    fit(vae.model, vae.guide, elbo, x, steps=steps, progress=False)
    print(sandwich(vae.model, vae.guide, x[:200], num_samples=1000, progress=False))
    return draw(vae, x, types)


def draw(vae, x, types):
    """The mean code of each cell, in the colour of its type, which the model has not seen."""
    with torch.no_grad():
        means = vae.encode(x.log1p())[:, :CODE]
    figure = Figure(figsize=(7.36, 3.2), layout="constrained")
    axes = figure.subplots()
    for kind, colour in enumerate(["#0072B2", "#D55E00", "#009E73", "#CC79A7"]):
        axes.plot(*means[types == kind].T, ".", ms=3, color=colour, label=f"type {kind}")
    axes.legend(markerscale=4)
    axes.set(xlabel="$z_0$", ylabel="$z_1$")
    return figure


if __name__ == "__main__":
    main().savefig("zero_inflated_counts.png", dpi=200)
