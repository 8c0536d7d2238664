"""A deep Markov model (Krishnan et al. 2017) of oscillations, with a guide that reads back."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

LENGTH, STATE = 12, 2


def oscillations(size):
    """Sines of random phase, speed and amplitude in noise: (size, LENGTH, 1)."""
    phase, speed, height = torch.rand(3, size, 1)
    angle = 6.28 * phase + torch.arange(LENGTH) * (0.3 + 0.6 * speed)
    return ((0.5 + height) * angle.sin() + 0.1 * torch.randn(size, LENGTH))[..., None]


class DeepMarkov(nn.Module):
    def __init__(self):
        super().__init__()
        self.move = nn.Sequential(nn.Linear(STATE, 32), nn.Tanh(), nn.Linear(32, 2 * STATE))
        self.emit = nn.Sequential(nn.Linear(STATE, 32), nn.Tanh(), nn.Linear(32, 1))
        self.read = nn.GRU(1, 32, batch_first=True)
        self.combine = nn.Sequential(nn.Linear(32 + STATE, 32), nn.Tanh(), nn.Linear(32, 2 * STATE))

    def model(self, x):
        z = x.new_zeros(len(x), STATE)
        with pyro.plate("data", len(x)):
            for t in range(LENGTH):
                loc, log_scale = self.move(z).chunk(2, -1)
                scale = log_scale.exp() if t else torch.ones_like(loc)
                z = pyro.sample(f"z_{t}", dist.Normal(z + loc, scale).to_event(1))
                pyro.sample(f"x_{t}", dist.Normal(self.emit(z), 0.2).to_event(1), obs=x[:, t])

    def guide(self, x):
        states = self.read(x.flip(1))[0].flip(1)
        z = x.new_zeros(len(x), STATE)
        with pyro.plate("data", len(x)):
            for t in range(LENGTH):
                loc, log_scale = self.combine(torch.cat([states[:, t], z], -1)).chunk(2, -1)
                z = pyro.sample(f"z_{t}", dist.Normal(z + loc, log_scale.exp()).to_event(1))


def main(steps=1000):
    """Trains, prints the information of the whole path from both sides, and draws sequences."""
    pyro.set_rng_seed(0)
    x, dmm = oscillations(1000), DeepMarkov()
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.2)  # codes: all z_t
    fit(dmm.model, dmm.guide, elbo, x, steps=steps, progress=False)
    print(sandwich(dmm.model, dmm.guide, x[:200], num_samples=1000, progress=False))
    return draw(dmm, x[:6])


def draw(dmm, x):
    """Sequences as points, and the means of the emissions along the guide's path."""
    path = pyro.poutine.trace(dmm.guide).get_trace(x)
    means = [dmm.emit(path.nodes[f"z_{t}"]["value"]) for t in range(LENGTH)]
    figure = Figure(figsize=(7.36, 3.2), layout="constrained")
    rows = zip(x[..., 0], torch.cat(means, -1).detach(), strict=True)
    for axes, (points, line) in zip(figure.subplots(2, 3, sharey=True).flat, rows, strict=True):
        axes.plot(points, ".", color="#222222")
        axes.plot(line, color="#0072B2")
    return figure


if __name__ == "__main__":
    main().savefig("deep_markov.png", dpi=200)
