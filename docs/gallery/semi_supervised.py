"""A semi-supervised VAE (Kingma et al. 2014, M2) of digits: one label in ten is known."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from sklearn.datasets import load_digits
from torch import nn

from pyro_mivae import TraceMI_ELBO
from pyro_mivae.information import sandwich


class M2(nn.Module):
    def __init__(self):
        super().__init__()
        self.classify = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.encode = nn.Sequential(nn.Linear(74, 128), nn.ReLU(), nn.Linear(128, 8))
        self.decode = nn.Sequential(nn.Linear(14, 128), nn.ReLU(), nn.Linear(128, 64))

    def model(self, x, y=None):
        pyro.module("m2", self)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(10)), obs=y)
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 4), 1.0).to_event(1))
            pixels = self.decode(beside(y, z)).sigmoid()
            pyro.sample("x", dist.Normal(pixels, 0.2).to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("m2", self)
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.classify(x)))
            else:
                log_prob = (self.classify(x).log_softmax(-1) * y).sum(-1)
                pyro.factor("classification", 30 * log_prob, has_rsample=False)
            loc, log_scale = self.encode(beside(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def beside(a, b):
    """Concatenates, also where enumeration has put the classes into a dimension of their own."""
    lead = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*lead, -1), b.expand(*lead, -1)], -1)


def main(steps=1000):
    """Trains, prints the information of the label from both sides, and draws classes."""
    pyro.set_rng_seed(0)
    digits = load_digits()
    x = torch.from_numpy(digits.data).float() / 16
    y = torch.eye(10)[torch.from_numpy(digits.target)]
    known, m2 = torch.randperm(len(x))[:180], M2()
    base = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)
    elbo = TraceMI_ELBO(channel="sample", codes=["y", "z"], elbo=base)
    svi = SVI(m2.model, config_enumerate(m2.guide), pyro.optim.Adam({"lr": 1e-3}), elbo)
    for _ in range(steps):
        svi.step(x[torch.randint(len(x), (100,))])
        svi.step(x[known], y[known])
    accuracy = (m2.classify(x).argmax(-1) == y.argmax(-1)).float().mean()
    print(f"class accuracy {accuracy:.2f}")
    print(sandwich(m2.model, m2.guide, x[:200], codes="y", num_samples=300, progress=False))
    return draw(m2)


def draw(m2):
    """The class changes along a row, the style z from row to row."""
    figure = Figure(figsize=(7.36, 3.2), layout="constrained")
    style = torch.randn(4, 1, 4).expand(4, 10, 4)
    with torch.no_grad():
        images = m2.decode(beside(torch.eye(10).expand(4, 10, 10), style)).sigmoid()
    for axes, image in zip(figure.subplots(4, 10).flat, images.reshape(40, 8, 8), strict=True):
        axes.imshow(image.numpy(), cmap="Greys", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main().savefig("semi_supervised.png", dpi=200)
