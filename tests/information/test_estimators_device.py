"""Every estimator on a device: what it computes stays there.

Under fake CUDA tensors an operation on tensors of two devices raises. Estimators, other than the
steps of a training, may read values (checks, results): the test answers for them.
"""

import contextlib

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from pyro_mivae import information


class DeviceVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 4, device="cuda")
        self.decoder = nn.Linear(2, 6, device="cuda")
        self.stray = False

    def model(self, x):
        with pyro.plate("data", len(x), device=x.device):
            zero = torch.zeros(2, device="cpu" if self.stray else x.device)
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x), device=x.device):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


CALLS = {
    "sandwich": lambda v, x: information.sandwich(v.model, v.guide, x, num_samples=4),
    "log_evidence": lambda v, x: information.log_evidence(v.model, v.guide, x, num_samples=5),
    "kl": lambda v, x: information.kl_per_dimension(v.model, v.guide, x),
    "mi": lambda v, x: information.mi_per_dimension(v.model, v.guide, x, channel="sample"),
    "decomposition": lambda v, x: information.elbo_decomposition(v.model, v.guide, x),
    "aggregate": lambda v, x: information.aggregate_information(v.guide, x),
    "pairwise": lambda v, x: information.pairwise_information(v.guide, x),
}


@pytest.fixture
def answers(monkeypatch):
    """Reading a value gives one, and all data are in every block."""
    for name in ("allclose", "equal"):
        monkeypatch.setattr(torch, name, lambda *args, **kwargs: True)
    values = {"__bool__": False, "item": 0.0, "__float__": 0.0, "__int__": 0}
    for name, value in values.items():
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, value=value: value)
    monkeypatch.setattr(
        torch.Tensor, "nonzero", lambda t: torch.arange(len(t), device=t.device)[:, None]
    )
    monkeypatch.setattr(torch.Tensor, "numpy", lambda t: np.zeros(t.shape))
    # There is no generator of a card to fork.
    monkeypatch.setattr(torch.random, "fork_rng", lambda **kwargs: contextlib.nullcontext())


@pytest.mark.parametrize("name", CALLS)
def test_an_estimator_computes_on_the_datas_device(answers, name):
    with pyro.validation_enabled(False), FakeTensorMode(), torch.no_grad():
        vae, x = DeviceVAE(), torch.zeros(5, 6, device="cuda")
        CALLS[name](vae, x)


def test_a_stray_tensor_is_found(answers):
    with pyro.validation_enabled(False), FakeTensorMode(), torch.no_grad():
        vae, x = DeviceVAE(), torch.zeros(5, 6, device="cuda")
        vae.stray = True
        # Pyro adds the trace to an error, which PyTorch's takes for a missing argument.
        with pytest.raises((RuntimeError, TypeError), match=r"DeviceMismatch|two devices"):
            CALLS["sandwich"](vae, x)
