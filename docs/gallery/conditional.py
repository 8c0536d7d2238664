"""A conditional VAE of digits: the class is given, and the code is what the class leaves open."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

CODE = 3


class ConditionalVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(74, 128), nn.ReLU(), nn.Linear(128, 2 * CODE))
        self.decode = nn.Sequential(nn.Linear(CODE + 10, 128), nn.ReLU(), nn.Linear(128, 64))

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), CODE), 1.0).to_event(1))
            pixels = self.decode(torch.cat([z, y], -1)).sigmoid()
            pyro.sample("x", dist.Normal(pixels, 0.2).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encode(torch.cat([x, y], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def main(steps=2000):
    """Trains, prints I(z; x' | y) from both sides, and draws styles."""
    pyro.set_rng_seed(0)
    digits = load_digits()
    x = torch.from_numpy(digits.data).float() / 16
    y = torch.eye(10)[torch.from_numpy(digits.target)]
    vae = ConditionalVAE()
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=0.5)
    fit(vae.model, vae.guide, elbo, [x, y], steps=steps, progress=False)
    print(sandwich(vae.model, vae.guide, x[:200], y[:200], num_samples=1000, progress=False))
    return draw(vae)


def draw(vae):
    """The class changes along a row, one dimension of z from row to row."""
    figure = Figure(figsize=(7.36, 3.9), layout="constrained")
    style = torch.zeros(5, 10, CODE)
    style[..., 0] = torch.linspace(-2, 2, 5)[:, None]
    with torch.no_grad():
        images = vae.decode(torch.cat([style, torch.eye(10).expand(5, 10, 10)], -1)).sigmoid()
    for axes, image in zip(figure.subplots(5, 10).flat, images.reshape(50, 8, 8), strict=True):
        axes.imshow(image.numpy(), cmap="Greys", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main().savefig("conditional.png", dpi=200)
