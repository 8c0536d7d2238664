"""The moving average of the weights under `fit`."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from opponents_in_training import Players, X, same
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_mivae.training import evaluate, fit, load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
DECAY = 0.6


def steps_of(model, weights):
    """A callback that copies a module's state after each step."""

    def callback(event):
        if event.kind == "log":
            weights.append({n: v.clone() for n, v in model.state_dict().items()})

    return callback


def by_hand(weights):
    average = {name: value.clone() for name, value in weights[0].items()}
    for state in weights[1:]:
        for name, value in state.items():
            if value.is_floating_point():
                average[name] = DECAY * average[name] + (1 - DECAY) * value
            else:
                average[name] = value
    return average


def close(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_the_model_ends_with_the_average_of_parameters_and_buffers(tmp_path):
    players, plain, weights = Players(), Players(), []
    callbacks = [steps_of(players.model, weights)]
    settings = {"steps": 5, "log_every": 1}
    players.train(average=DECAY, callbacks=callbacks, folder=tmp_path, **settings)
    plain.train(**settings)
    assert same(weights[-1], plain.model.state_dict())  # the steps are those without an average
    expected = by_hand(weights)
    assert expected["norm.running_mean"].abs().max() > 0
    close(players.model.state_dict(), expected)
    assert not same(players.model.state_dict(), plain.model.state_dict())
    assert same(players.discriminator.state_dict(), plain.discriminator.state_dict())
    assert same(players.guide.state_dict(), plain.guide.state_dict())
    state = load_checkpoint(tmp_path)
    saved = {f"model.{name}": value for name, value in weights[-1].items()}
    assert all(torch.equal(state["objective"][name], value) for name, value in saved.items())
    close(state["average"]["weights"], {f"model.{n}": v for n, v in expected.items()})
    assert (state["average"]["decay"], state["average"]["count"]) == (DECAY, 5)
    # A training that is done gives the average again, and nothing else.
    again = Players(seed=5)
    again.train(average=DECAY, folder=tmp_path, resume=True, **settings)
    assert same(again.model.state_dict(), players.model.state_dict())


def test_callbacks_may_look_at_the_average():
    players, plain, seen, weights = Players(), Players(), [], []

    def look(event):
        if event.kind != "log":
            return
        before = players.state()
        weights.append({n: v.clone() for n, v in players.model.state_dict().items()})
        with event.averaged():
            seen.append({n: v.clone() for n, v in players.model.state_dict().items()})
            evaluate(players.model, players.guide, players.gan, X[:4])
        assert same(before, players.state())

    players.train(average=DECAY, log_every=2, steps=4, callbacks=[look])
    plain.train(log_every=2, steps=4)
    assert len(seen) == 2
    assert not same(seen[0], weights[0])
    assert same(weights[1], plain.model.state_dict())
    assert same(seen[1], players.model.state_dict())


def test_without_an_average_nothing_is_swapped():
    players, seen = Players(), []

    def look(event):
        with event.averaged():
            seen.append(players.state())

    players.train(callbacks=[look])
    assert same(seen[-1], players.state())


def test_under_an_elbo_it_is_of_model_and_guide():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.gain * x, 0.7))

    pair, weights = nn.ModuleList([Model(), Guide()]), []
    settings = {"device": "cpu", "progress": False, "average": DECAY, "log_every": 1}
    callbacks = [steps_of(pair, weights)]
    fit(*pair, Trace_ELBO(), torch.randn(20), steps=4, callbacks=callbacks, **settings)
    close(pair.state_dict(), by_hand(weights))
