"""Signs of collapse, planted and absent; and a small GAN that learns what is known."""

import logging
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from opponents_in_training import Players, X
from torch import nn
from torch.optim import SGD, Adam

from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.infer.adversarial.variety import measure_variety
from pyro_mivae.traces.call import Call
from pyro_mivae.training import collapse, fit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def soon(monkeypatch):
    """Signs are said after a few steps."""
    monkeypatch.setattr(collapse, "STEPS", 6)


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.name == collapse.logger.name]


def still(parameters):
    return SGD(parameters, lr=0.0)


class Model(nn.Module):
    """Points near one of two centres, +3 and -3, which a class chooses."""

    def __init__(self, collapsed=False):
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([3.0, -3.0]))
        self.spread = 0.01 if collapsed else 1.0

    def forward(self, x):
        with pyro.plate("data", len(x)):
            d = pyro.sample("d", dist.OneHotCategorical(logits=torch.zeros(2)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = self.spread * (d @ self.centres + 0.3 * z)
            pyro.sample("x", dist.Normal(loc, 0.1), obs=x)


class Guide(nn.Module):
    """Reads the class off the sign of x."""

    def __init__(self, slope=2.0, bias=0.0):
        super().__init__()
        self.slope, self.bias = nn.Parameter(torch.tensor(slope)), bias

    def forward(self, x):
        raw = self.slope * x + self.bias
        with pyro.plate("data", len(x)):
            pyro.sample("d", dist.OneHotCategorical(logits=torch.stack([raw, -raw], -1)))


class Slope(nn.Module):
    """A discriminator: logits of one slope, and a bend."""

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope, self.bend = nn.Parameter(torch.tensor(slope)), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.slope * (x.abs() - 1.5) + self.bend * x


REAL = torch.cat([torch.randn(24) * 0.3 + 3, torch.randn(24) * 0.3 - 3])
PLANTED = {
    "nothing": (Model(), Guide(), Slope(), ()),
    "alike": (Model(collapsed=True), Guide(), Slope(), ("nearly alike: inside a batch",)),
    "won": (
        Model(collapsed=True),
        Guide(),
        Slope(20.0),
        ("the discriminator wins: its loss is 0", "nearly alike"),
    ),
    "a rare class": (
        Model(),
        Guide(bias=50.0),
        Slope(),
        ("class 1 of the code 'd' is read off 0.0% of the real data, and has a probability of 50",),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_signs_are_said_once(name, soon, caplog):
    model, guide, discriminator, expected = PLANTED[name]
    gan = TraceMI_GAN(discriminator, codes="d")
    settings = {"steps": 15, "log_every": 1, "optimizer": still}
    fit(model, guide, gan, REAL, batch_size=24, device="cpu", progress=False, **settings)
    said = warnings_of(caplog)
    assert len(said) == len(expected)
    for words, line in zip(expected, said, strict=True):
        assert words in line
        first = 2 if "class" in line else 1  # the first batch is too small for shares of classes
        assert line.startswith(f"at step {first + 6}, and since step {first}, ")


def test_signs_of_a_few_steps_are_not_said(caplog):
    model, guide, discriminator, _ = PLANTED["alike"]
    settings = {"steps": 20, "log_every": 1, "optimizer": still, "progress": False}
    fit(model, guide, TraceMI_GAN(discriminator, codes="d"), REAL, device="cpu", **settings)
    assert not warnings_of(caplog)


def test_a_sign_that_goes_away_counts_anew(soon, caplog):
    watch = collapse.CollapseWatch(TraceMI_GAN(Slope(), codes="d"))
    call = Call(Model(), Guide(), (REAL,))
    terms = {"discriminator/real": 0.01, "discriminator/generated": 0.01}
    for step in range(1, 25):
        watch(step, {**terms, "discriminator/real": 1.0} if step % 6 == 0 else terms, call)
    assert not warnings_of(caplog)
    with caplog.at_level(logging.WARNING):
        for step in range(25, 40):
            watch(step, terms, call)
    assert len(warnings_of(caplog)) == 1


def test_the_wasserstein_loss_says_nothing(soon, caplog):
    watch = collapse.CollapseWatch(TraceMI_GAN(Slope(), codes="d", adversary="wasserstein"))
    call = Call(Model(), Guide(), (REAL,))
    for step in range(1, 20):
        watch(step, {"discriminator/real": -9.0, "discriminator/generated": -9.0}, call)
    assert not warnings_of(caplog)


def test_variety_is_measured_and_nothing_changes():
    players = Players()
    players.train(steps=1)
    before, state = players.state(), torch.get_rng_state()
    variety = measure_variety(players.gan, Call(players.model, players.guide, (X,)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in players.state().items())
    assert variety.size == 24
    assert set(variety.classes) == {"d"}
    torch.testing.assert_close(variety.classes["d"].sum(-1), torch.full((2,), 24.0).double())
    torch.testing.assert_close(variety.classes["d"][1], torch.full((2,), 12.0).double())
    torch.manual_seed(3)
    exact = measure_variety(TraceMI_GAN(Slope(), codes="d"), Call(Model(), Guide(), (REAL,)))
    assert 0.9 < exact.spread < 1.15  # +-3 in both, with equal noise
    constant = measure_variety(
        TraceMI_GAN(Slope(), codes="d"), Call(Model(), Guide(), (torch.ones(8),))
    )
    assert constant.spread is None


class Line(nn.Module):
    """The model of the known answer: x' = location + gain c + 0.5 z."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.zeros(1))
        self.gain = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = self.location + self.gain * c + 0.5 * z
            pyro.sample("x", dist.Normal(loc, 0.1).to_event(1), obs=x)


class LineReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 2)

    def forward(self, x):
        loc, raw = self.net(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            scale = nn.functional.softplus(raw) + 0.05
            pyro.sample("c", dist.Normal(loc, scale).to_event(1))


@pytest.mark.slow  # 8 seconds on a busy machine
def test_a_small_gan_learns_location_and_information(soon, caplog):
    """Data are N(2, 1): location 2, and the code takes what noise leaves, 1/2 log(1 / 0.25)."""
    torch.manual_seed(0)
    data = 2 + torch.randn(512, 1)
    model, guide = Line(), LineReader()
    discriminator = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    gan = TraceMI_GAN(discriminator, codes="c", mi_weight=0.1)
    adam = partial(Adam, betas=(0.5, 0.999), fused=True)
    history = fit(
        *(model, guide, gan, data),
        steps=1000,
        batch_size=64,
        optimizer={"model": partial(adam, lr=5e-3), "reader": partial(adam, lr=1e-2)},
        average=0.98,
        device="cpu",
        progress=False,
    )
    assert abs(model.location.item() - data.mean().item()) < 0.2
    first, last = history.rows[0]["mi"], history.rows[-1]["mi"]
    assert first < 0.2 < 0.5 < last
    assert not warnings_of(caplog)
