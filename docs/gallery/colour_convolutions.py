"""A convolutional VAE of coloured digits: real strokes, each in a hue of its own."""

import matplotlib
import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

CODE = 4


def coloured_digits():
    """The 1,797 digits of scikit-learn, 8 x 8, in hues that are drawn uniformly: (N, 3, 8, 8)."""
    grey = torch.from_numpy(load_digits().images).float()[:, None] / 16
    hue = matplotlib.colormaps["hsv"](torch.rand(len(grey)).numpy())[:, :3]
    return grey * torch.from_numpy(hue).float()[:, :, None, None]


class ColourVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, 2, 1), nn.ELU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ELU()),
            *(nn.Flatten(), nn.Linear(256, 2 * CODE)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(CODE, 256), nn.ELU(), nn.Unflatten(1, (64, 2, 2))),
            *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(32, 3, 4, 2, 1)),
        )

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), CODE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z).sigmoid(), 0.25).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def main(steps=1200):
    """Trains, prints the information from both sides, and draws traversals."""
    pyro.set_rng_seed(0)
    x, vae = coloured_digits(), ColourVAE()
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=2.0)
    fit(vae.model, vae.guide, elbo, x, steps=steps, progress=False)
    print(sandwich(vae.model, vae.guide, x[:200], num_samples=1000, progress=False))
    return draw(vae)


def draw(vae):
    """One code dimension moves along each row, the others stay at 0."""
    figure = Figure(figsize=(7.36, 3.2), layout="constrained")
    codes = torch.zeros(CODE, 9, CODE)
    codes[range(CODE), :, range(CODE)] = torch.linspace(-2, 2, 9)
    with torch.no_grad():
        images = vae.decoder(codes.reshape(-1, CODE)).sigmoid().permute(0, 2, 3, 1)
    for axes, image in zip(figure.subplots(CODE, 9).flat, images, strict=True):
        axes.imshow(image.numpy())
        axes.set_axis_off()
    figure.suptitle("Rows: one dimension of z from −2 to 2", fontsize=10)
    return figure


if __name__ == "__main__":
    main().savefig("colour_convolutions.png", dpi=200)
