"""A VAE with two layers of latents: z2 draws z1, and z1 draws a digit."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich


def net(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


class Hierarchical(nn.Module):
    def __init__(self):
        super().__init__()
        self.middle, self.decode = net(2, 12), net(6, 64)
        self.encode_top, self.encode_middle = net(64, 4), net(64 + 2, 12)

    def model(self, x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            middle = pyro.sample("z1", normal(self.middle(top)))
            pixels = self.decode(middle).sigmoid()
            pyro.sample("x", dist.Normal(pixels, 0.25).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", normal(self.encode_top(x)))
            pyro.sample("z1", normal(self.encode_middle(torch.cat([x, top], -1))))


def normal(raw):
    loc, log_scale = raw.chunk(2, -1)
    return dist.Normal(loc, log_scale.exp()).to_event(1)


def main(steps=2000):
    """Trains, prints the information of both layers and of the top one, and draws digits."""
    pyro.set_rng_seed(0)
    x = torch.from_numpy(load_digits().data).float() / 16
    vae = Hierarchical()
    elbo = TraceMI_ELBO(channel="sample", codes=["z2", "z1"], mi_weight={"z2": 4.0, "z1": 1.0})
    fit(vae.model, vae.guide, elbo, x, steps=steps, progress=False)
    for codes in (["z2", "z1"], "z2"):
        settings = {"codes": codes, "num_samples": 1000, "progress": False}
        print(sandwich(vae.model, vae.guide, x[:200], **settings))
    return draw(vae)


def draw(vae):
    """Digits over a grid of the top layer's two dimensions, at the mean of the middle layer."""
    figure = Figure(figsize=(7.36, 3.9), layout="constrained")
    grid = torch.cartesian_prod(torch.linspace(-1.5, 1.5, 6), torch.linspace(-2, 2, 12))
    with torch.no_grad():
        images = vae.decode(vae.middle(grid)[:, :6]).sigmoid().reshape(-1, 8, 8)
    for axes, image in zip(figure.subplots(6, 12).flat, images, strict=True):
        axes.imshow(image.numpy(), cmap="Greys", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main().savefig("hierarchical.png", dpi=200)
