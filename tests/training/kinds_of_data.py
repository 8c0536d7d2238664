"""Data of all kinds that fit takes, and a small pair that trains on them."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import fit

DATA = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) + 2
CPU = torch.device("cpu")
LOADER = {"batch_size": 20, "shuffle": True}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.dec = nn.Linear(2, 3)

    def forward(self, x, y=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.dec(z), 0.5).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(3, 4)

    def forward(self, x, y=None):
        loc, log_scale = self.enc(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Rows(Dataset):
    """Rows of an array, counted as they are read."""

    def __init__(self, rows, noise=False, label=False):
        self.rows, self.noise, self.label, self.read = rows, noise, label, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.read.append(index)
        row = torch.tensor(np.asarray(self.rows[index]))
        if self.noise:
            row = row + 0.1 * torch.randn(3) + float(np.random.rand())  # noqa: NPY002
        return {"x": row, "y": index} if self.label else row


class Stream:
    """Batches from the start each time, without a length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class StreamDataset(IterableDataset):
    def __iter__(self):
        return iter(DATA)


def train(data, steps=7, **settings):
    torch.manual_seed(1)
    pair = Model(), Guide()
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=0.5)
    settings = {"device": "cpu", "progress": False, "log_every": 1, **settings}
    history = fit(*pair, elbo, data, steps=steps, **settings)
    return history.rows, [p.detach().clone() for m in pair for p in m.parameters()]


def same(one, other):
    return one[0] == other[0] and all(
        torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True)
    )


def chunks(*tensors):
    return list(zip(*(tensor.split(20) for tensor in tensors), strict=True))


def mapped(tmp_path):
    """A Dataset of rows that stay in a file."""
    path = tmp_path / "rows.npy"
    np.save(path, DATA.numpy())
    return Rows(np.load(path, mmap_mode="r"))
