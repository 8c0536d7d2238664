"""What a Pyro user passes at first, and the words that come back."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import nn

from pyro_mivae.disentanglement import explicitness
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import fit
from pyro_mivae.vae import MIVAE


class Model(nn.Module):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(3, 3)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.enc(x), 1.0).to_event(1))


X = torch.randn(20, 3)
SETTINGS = {"steps": 2, "device": "cpu", "progress": False}


def elbo(**options):
    return TraceMI_ELBO(channel="sample", codes="z", **options)


def train(objective=None, data=X, **settings):
    return fit(Model(), Guide(), objective or elbo(), data, **settings, **SETTINGS)


def improper(x):
    z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
    pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def improper_guide(x):
    pyro.sample("z", dist.Normal(x, 1.0))


def unobserved(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))


def renamed(x):
    with pyro.plate("data", len(x)):
        pyro.sample("latent", dist.Normal(x, 1.0).to_event(1))


def derived(x, scale=2.0):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x / scale)


def from_outside():
    with pyro.plate("data", len(X)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=X)


def guide_from_outside():
    with pyro.plate("data", len(X)):
        pyro.sample("z", dist.Normal(X, 1.0).to_event(1))


def of_a_dict(batch):
    derived(batch["images"])


def guide_of_a_dict(batch):
    renamed(batch["images"])


TRACE = {"elbo": Trace_ELBO()}
CASES = {
    "Pyro's optimiser": (
        lambda: train(optimizer=pyro.optim.Adam({"lr": 0.01})),
        r"torch's optimisers, found Pyro's.*lambda parameters: torch\.optim\.Adam",
    ),
    "an optimiser that is none": (lambda: train(optimizer=lambda p: 3), "which gives int"),
    "RenyiELBO": (lambda: train(RenyiELBO()), "RenyiELBO has no differentiable_loss"),
    "the class of an ELBO": (lambda: train(TraceMI_ELBO), r"call it, TraceMI_ELBO\(\.\.\.\)"),
    "data_args as a word": (lambda: elbo(data_args="x"), "expected a mapping of sites"),
    "a negative tensor": (lambda: elbo(mi_weight=torch.tensor(-1.0)), "finite number >= 0"),
    "a vector of weights": (lambda: elbo(mi_weight=torch.ones(2)), r"tensor of shape \(2,\)"),
    "a generator of batches": (lambda: train(data=(x for x in [X])), "only once.*a DataLoader"),
    "identifiers as labels": (
        lambda: explicitness(torch.randn(9, 2), {"id": torch.arange(9)}, nominal=["id"]),
        "9 of 9 labels with a single point.*Leave identifiers out",
    ),
    "images with a channel": (
        lambda: MIVAE(code_dim=2).observe(torch.zeros(4, 1, 28, 28, dtype=torch.uint8)),
        r"found \(4, 1, 28, 28\): take the channel off, images\.squeeze\(1\)",
    ),
    "an improper prior": (
        lambda: elbo(**TRACE).terms(improper, improper_guide, torch.tensor(0.5)),
        "'z' can't be drawn: its ImproperUniform has no sampler.*mi_weight=0",
    ),
    "nothing observed": (
        lambda: elbo(**TRACE).terms(unobserved, Guide(), X),
        r"no observed site.*obs=data.*pyro\.condition",
    ),
    "other names in the guide": (
        lambda: TraceMI_ELBO(channel="sample", **TRACE).terms(Model(), renamed, X),
        r"the model's are \['z'\], the guide's \['latent'\].*names of the model's",
    ),
    "derived data": (
        lambda: elbo(**TRACE).terms(derived, lambda x, scale=2.0: Guide()(x), X),
        r"data_args=\{'x': 'x'\}; pass a callable",
    ),
    "data from outside": (
        lambda: elbo(**TRACE).terms(from_outside, guide_from_outside),
        "give model and guide the data as an argument",
    ),
    "a dict of data": (
        lambda: TraceMI_ELBO(channel="sample", **TRACE).terms(
            of_a_dict, lambda batch: Guide()(batch["images"]), {"images": X}
        ),
        r"Say where it goes: pass a callable data_args=lambda",
    ),
}


@pytest.mark.filterwarnings("ignore:Found .*vars")  # by Pyro, of other names
@pytest.mark.parametrize("case", CASES)
def test_the_error_says_what_to_do(case):
    call, words = CASES[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_the_channel_has_no_default():
    with pytest.raises(TypeError, match=r"'mean'.*'sample'.*'straight-through'.*'sleep'"):
        TraceMI_ELBO()


def test_the_warning_of_a_blind_guide_names_the_argument():
    def blind(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    with pytest.warns(UserWarning, match=r"generated x' \(in the argument 'x'\)"):
        elbo().terms(Model(), blind, X)
