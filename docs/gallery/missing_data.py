"""A factor model of 178 wines, of whose 13 measurements a quarter is missing."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_wine
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

FACTORS, COLUMNS = 2, 13


class FactorModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.loadings = nn.Linear(FACTORS, COLUMNS)
        self.log_noise = nn.Parameter(torch.zeros(COLUMNS))
        self.encode = nn.Sequential(
            *(nn.Linear(2 * COLUMNS, 64), nn.Tanh(), nn.Linear(64, 2 * FACTORS)),
        )

    def model(self, x, there):
        with pyro.plate("wines", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), FACTORS), 1.0).to_event(1))
            columns = dist.Normal(self.loadings(z), self.log_noise.exp()).mask(there)
            pyro.sample("x", columns.to_event(1), obs=x)

    def guide(self, x, there):
        seen = torch.cat([torch.where(there, x, 0.0), there.float()], -1)
        with pyro.plate("wines", len(x)):
            loc, log_scale = self.encode(seen).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def exact(self, there):
        """The information of each wine, from the columns that are there: 0.5 logdet."""
        weight = self.loadings.weight / self.log_noise.exp()[:, None]
        each = torch.einsum("nc,cf,cg->nfg", there.float(), weight, weight)
        return 0.5 * torch.logdet(torch.eye(FACTORS) + each)


def main(steps=2000):
    """Trains, prints the information from both sides beside the exact one, and draws wines."""
    pyro.set_rng_seed(0)
    wine = load_wine()
    x = torch.from_numpy(wine.data).float()
    x = (x - x.mean(0)) / x.std(0)
    there = torch.rand(x.shape) > 1 / 4
    wines = FactorModel()
    elbo = TraceMI_ELBO(channel="sample", codes="z")
    fit(wines.model, wines.guide, elbo, [x, there], steps=steps, progress=False)
    settings = {"num_samples": 100, "num_dual_particles": 20, "progress": False}
    print(sandwich(wines.model, wines.guide, x, there, **settings))
    print(f"exact: {wines.exact(there).mean():.3f}")
    return draw(wines, x, there, torch.from_numpy(wine.target))


def draw(wines, x, there, kinds):
    """The guide's mean of each wine, in the colour of its kind, which the model has not seen."""
    with torch.no_grad():
        means = wines.encode(torch.cat([torch.where(there, x, 0.0), there.float()], -1))
    figure = Figure(figsize=(7.36, 3.2), layout="constrained")
    axes = figure.subplots()
    for kind, colour in enumerate(["#0072B2", "#D55E00", "#009E73"]):
        axes.plot(*means[kinds == kind, :FACTORS].T, "o", ms=4, color=colour, label=f"kind {kind}")
    axes.legend()
    axes.set(xlabel="$z_0$", ylabel="$z_1$")
    return figure


if __name__ == "__main__":
    main().savefig("missing_data.png", dpi=200)
