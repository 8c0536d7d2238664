"""A plate of more data than the batch, Pyro's idiom: its terms are per datum, too."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from many_pairs import alone, assert_same, many
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.isolation import evaluation
from pyro_mivae.training import evaluate, fit
from pyro_mivae.training.objective import make_game

pytestmark = pytest.mark.usefixtures("float64")

N = 20
X = torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SETTINGS = {"steps": 4, "batch_size": 8, "log_every": 1, "device": "cpu", "progress": False}
PLATES = {
    "of the batch": lambda x: pyro.plate("data", len(x)),
    "of all": lambda x: pyro.plate("data", N, subsample=torch.arange(len(x))),
}


class Part(nn.Module):
    def __init__(self, plate, *, world=False):
        super().__init__()
        self.plate, self.world = PLATES[plate], world
        self.gain = nn.Parameter(torch.tensor(0.5))


class Model(Part):
    def forward(self, x):
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0)) if self.world else 0.0
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(shift + self.gain * z, 1.0), obs=x)


class Guide(Part):
    def forward(self, x):
        if self.world:
            pyro.sample("shift", dist.Normal(self.gain, 0.1))
        with self.plate(x):
            pyro.sample("z", dist.Normal(self.gain * x, 0.8))


def pair(plate):
    return Model(plate), Guide(plate), TraceMI_ELBO(channel="sample", mi_weight=0.7)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_evaluate_gives_the_mean_over_the_data():
    part, whole = (evaluate(*pair(plate), X, batch_size=8) for plate in PLATES)
    assert whole == pytest.approx(part)


@pytest.mark.parametrize("compiled", [False, "replay"])
def test_fit_has_steps_and_history_per_datum(compiled):
    histories, gains = [], []
    for plate in PLATES:
        model, guide, elbo = pair(plate)
        history = fit(model, guide, elbo, X, optimizer=sgd, compile=compiled, **SETTINGS)
        histories.append(history.rows)
        gains.append([float(part.gain.detach()) for part in (model, guide)])
    assert gains[1] == pytest.approx(gains[0])
    for one, other in zip(*histories, strict=True):
        assert other["loss"] == pytest.approx(one["loss"])
        assert other["kl"] == pytest.approx(one["kl"])


def test_before_a_batch_was_seen_its_own_number_counts():
    assert make_game(*pair("of all")).divisor(8) == 8


def test_each_of_many_seeds_too():
    """Against its own training, which the test above holds to the plate of the batch."""
    settings = {"steps": 4, "batch_size": 8}
    runs = many(lambda seed: pair("of all"), X, seeds=(3, 0), **settings)
    for seed, run in runs.items():
        assert_same(run, *alone(lambda seed: pair("of all"), X, seed, **settings))


def test_a_latent_of_all_data_counts_once_in_all_of_them():
    model, guide = Model("of all", world=True), Guide("of all", world=True)
    kl = torch.distributions.kl_divergence(dist.Normal(0.5, 0.1), dist.Normal(0.0, 1.0))
    terms = evaluate(model, guide, TraceMI_ELBO(channel="mean", codes="z"), X, batch_size=8)
    assert terms["kl/shift"] == pytest.approx(float(kl) / N)


def test_a_plate_inside_of_a_datum_is_none_of_the_data():
    """Eight of 20 times, as many as data are in a batch."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 20, subsample=torch.arange(8), dim=-1):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 1.0))

    x = torch.randn(8, 8)
    elbo = TraceMI_ELBO(channel="sleep", elbo=Trace_ELBO())
    terms = evaluate(model, guide, elbo, x, batch_size=8)
    with evaluation(model, guide, device=x.device):
        loss = float(elbo.terms(model, guide, x)["loss"])
    assert terms["loss"] == pytest.approx(loss / 8)


class Wide(nn.Module):
    """Twenty features of 40 data, in plates or in one dimension of the site."""

    def __init__(self, *, plate=True, features=20):
        super().__init__()
        self.plate, self.features = plate, features
        self.gain = nn.Parameter(torch.ones(features))

    def model(self, x):
        with pyro.plate("data", 40, subsample_size=len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if self.plate:
                with pyro.plate("features", self.features, dim=-1):
                    pyro.sample("x", dist.Normal(self.gain * z, 1.0), obs=x)
            else:
                loc = (self.gain * z)[:, None]
                pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x[:, None])

    def guide(self, x):
        with pyro.plate("data", 40, subsample_size=len(x), dim=-2):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 0.1))


@pytest.mark.parametrize("batch_size", [20, 2, 30, 7])
def test_a_batch_of_as_many_data_as_another_plate_is_told_from_it(batch_size):
    """At a batch of 20, or a last one of 10, the features took the place of the data."""
    features = 10 if batch_size == 30 else 2 if batch_size == 2 else 20
    x = torch.randn(40, features)
    plain = {}
    for plate in (True, False):
        wide = Wide(plate=plate, features=features)
        elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
        terms = evaluate(wide.model, wide.guide, elbo, x, batch_size=batch_size)
        plain[plate] = terms["log_likelihood"]
        settings = SETTINGS | {"steps": 1, "batch_size": batch_size}
        history = fit(wide.model, wide.guide, elbo, x, optimizer=sgd, **settings)
        assert history.rows[0]["log_likelihood"] == pytest.approx(plain[plate], rel=0.5)
    assert plain[True] == pytest.approx(plain[False])


def test_a_model_of_one_size_is_warned_of():
    wide = Wide()

    def of_twenty(x):
        return wide.model(x.reshape(20, 20))

    x = torch.randn(40, 20)
    elbo = TraceMI_ELBO(channel="sleep", elbo=Trace_ELBO())
    with pytest.warns(UserWarning, match="can't be run on 2 data .* divided by 40"):
        terms = evaluate(of_twenty, wide.guide, elbo, x, batch_size=20)
    assert terms == evaluate(wide.model, wide.guide, elbo, x, batch_size=20)


@pytest.mark.parametrize("length", [3, 8])
def test_what_is_observed_of_all_data_does_not_hide_their_plate(length):
    """One vector beside the data, also if it is as long as a batch."""

    def of_all(x):
        pyro.sample(
            "all", dist.Normal(torch.zeros(length), 1.0).to_event(1), obs=torch.ones(length)
        )
        with pyro.plate("data", N, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def without(x):
        with pyro.plate("data", N, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", N, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    elbo = TraceMI_ELBO(channel="mean", codes="z", observed="all")
    found = evaluate(of_all, guide, elbo, X, batch_size=8)
    right = evaluate(without, guide, TraceMI_ELBO(channel="mean", codes="z"), X, batch_size=8)
    for term in ("kl", "mi"):
        assert found[term] == pytest.approx(right[term])
