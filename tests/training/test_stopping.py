"""Early stopping."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta

from pyro_mivae.runs import History
from pyro_mivae.training import EarlyStopping, fit
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
        ([], {}, False),
    ],
)
def test_when_it_stops(values, settings, stopped):
    history, callback = History(), EarlyStopping(patience=2, **settings)
    ends = []
    for step, value in enumerate(values, 1):
        history.add(step, step, "train", {"loss": float(value)})
        ends.append(callback.ends(history))
    assert ends == [False] * (len(values) - 1) + [stopped] * bool(values)


def train(steps=100, **settings):
    settings = {"log_every": 2, "batch_size": None, "device": "cpu", "progress": False, **settings}
    guide = AutoDelta(model)
    return fit(model, guide, Trace_ELBO(), X, steps=steps, **settings), guide.loc.detach().clone()


def still(parameters):
    """With a learning rate of 0 no reading after the first is better."""
    return torch.optim.SGD(parameters, lr=0.0)


def test_a_training_ends_and_is_saved(tmp_path):
    settings = {"optimizer": still, "folder": tmp_path}
    history, _ = train(callbacks=[EarlyStopping(patience=3)], **settings)
    assert history.rows[-1]["step"] == 8
    assert load_checkpoint(tmp_path)["step"] == 8
    # It has ended; with more patience it goes on.
    again, _ = train(callbacks=[EarlyStopping(patience=3)], resume=True, **settings)
    assert again.rows == history.rows
    further, _ = train(callbacks=[EarlyStopping(patience=4)], resume=True, **settings)
    assert further.rows[-1]["step"] == 10


@pytest.mark.parametrize("stop", [4, 10])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(stop, tmp_path):
    """The loss is best at step 6: one stop comes before it, one after it."""
    settings = {
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.13, momentum=0.9),
        "callbacks": [EarlyStopping(patience=3)],
    }
    expected, loc = train(**settings)
    assert stop < expected.rows[-1]["step"] < 100
    train(steps=stop, folder=tmp_path, **settings)
    resumed, again = train(folder=tmp_path, resume=True, **settings)
    assert resumed.rows == expected.rows
    assert torch.equal(again, loc)


def validate(event):
    """Adds rows of another split, which get worse from the third on."""
    if event.kind == "log" and event.step % 4 == 0:
        event.history.add(event.step, event.epoch, "validation", {"score": abs(event.step - 12)})


def test_rows_of_another_split(caplog):
    early = EarlyStopping("score", patience=2, split="validation")
    history, _ = train(callbacks=[validate, early])
    assert history.rows[-1]["step"] == 20
    train(steps=4, callbacks=[early])
    assert "no row of the split 'validation'" in caplog.text
    with pytest.raises(ValueError, match=r"a column 'loss' in the rows of 'validation', .* score"):
        train(callbacks=[validate, EarlyStopping(split="validation")])


@pytest.mark.parametrize("settings", [{"patience": 0}, {"patience": 2.5}, {"min_delta": -1.0}])
def test_what_is_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        EarlyStopping(**settings)
