"""Early stopping."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta

from pyro_mivae.runs import History
from pyro_mivae.training import EarlyStopping, Event, fit
from pyro_mivae.training.checkpoints import load_checkpoint

X = torch.arange(8.0)


def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


@pytest.mark.parametrize(
    ("values", "settings", "stopped"),
    [
        ([3, 2, 1], {}, False),
        ([3, 2, 2.5, 2.1], {}, True),
        ([3, 2, 2.5, 1.9], {}, False),
        ([3, 2, 1.9, 1.95], {"min_delta": 0.2}, True),
        ([1, 2, 3], {"maximize": True}, False),
        ([1, 2, 3], {}, True),
    ],
)
def test_when_it_stops(values, settings, stopped):
    history, callback = History(), EarlyStopping(patience=2, **settings)
    for step, value in enumerate(values, 1):
        history.add(step, step, "train", {"loss": float(value)})
        callback(Event("log", step, step, {}, history))
    assert callback.stopped is stopped


def test_a_training_ends_and_is_saved(tmp_path):
    """The learning rate is 0: no reading after the first is better."""
    history = fit(
        *(model, AutoDelta(model), Trace_ELBO(), X),
        steps=100,
        log_every=2,
        batch_size=None,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        callbacks=[EarlyStopping(patience=3)],
        folder=tmp_path,
        device="cpu",
        progress=False,
    )
    assert history.rows[-1]["step"] == 8
    assert load_checkpoint(tmp_path)["step"] == 8


@pytest.mark.parametrize("settings", [{"patience": 0}, {"min_delta": -1.0}])
def test_what_is_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        EarlyStopping(**settings)
