"""Two modalities of one digit, its upper and lower half; a third of the data lack the lower one."""

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from pyro_mivae import TraceMI_ELBO, fit
from pyro_mivae.information import sandwich

CODE = 4


def net(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


class TwoModalities(nn.Module):
    """The guide is a product of experts (Wu and Goodman 2018): the prior, and what is there."""

    def __init__(self):
        super().__init__()
        self.decode = nn.ModuleList(net(CODE, 32) for _ in range(2))
        self.encode = nn.ModuleList(net(32, 2 * CODE) for _ in range(2))

    def model(self, upper, lower, there):
        with pyro.plate("data", len(upper)):
            z = pyro.sample("z", dist.Normal(upper.new_zeros(len(upper), CODE), 1.0).to_event(1))
            halves = [dist.Normal(net(z).sigmoid(), 0.2).to_event(1) for net in self.decode]
            pyro.sample("upper", halves[0], obs=upper)
            pyro.sample("lower", halves[1].mask(there), obs=lower)

    def guide(self, upper, lower, there):
        precision, weighed = torch.ones(()), torch.zeros(())
        for net, half, seen in zip(self.encode, (upper, lower), (1, there[:, None]), strict=True):
            loc, log_precision = net(half).chunk(2, -1)
            precision = precision + seen * log_precision.exp()
            weighed = weighed + seen * log_precision.exp() * loc
        with pyro.plate("data", len(upper)):
            pyro.sample("z", dist.Normal(weighed / precision, precision.rsqrt()).to_event(1))


def main(steps=2000):
    """Trains, prints the information with and without the lower half, and completes digits."""
    pyro.set_rng_seed(0)
    upper, lower = (torch.from_numpy(load_digits().data).float() / 16).split(32, -1)
    there = torch.rand(len(upper)) > 1 / 3
    vae = TwoModalities()
    elbo = TraceMI_ELBO(channel="sample", codes="z")
    fit(vae.model, vae.guide, elbo, [upper, lower, there], steps=steps, progress=False)
    for seen in (True, False):
        data = (upper[:200], lower[:200], torch.full((200,), seen))
        bounds = sandwich(vae.model, vae.guide, *data, num_samples=1000, progress=False)
        print("both halves:" if seen else "upper half: ", bounds)
    return draw(vae, upper[:10], lower[:10])


@torch.no_grad()
def draw(vae, upper, lower):
    """Digits, and below them the same with the lower half filled in from the upper one."""
    blind = vae.guide, (upper, lower, torch.zeros(10, dtype=torch.bool))
    z = pyro.poutine.trace(blind[0]).get_trace(*blind[1]).nodes["z"]["fn"].mean
    filled = torch.cat([upper, vae.decode[1](z).sigmoid()], -1)
    figure = Figure(figsize=(7.36, 1.7), layout="constrained")
    images = torch.cat([torch.cat([upper, lower], -1), filled]).reshape(-1, 8, 8)
    for axes, image in zip(figure.subplots(2, 10).flat, images, strict=True):
        axes.imshow(image.numpy(), cmap="Greys", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main().savefig("two_modalities.png", dpi=200)
