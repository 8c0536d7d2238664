"""Readings handed to the loggers of Lightning Fabric."""

import csv
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from pyro_mivae.training import Interrupted, fit

X = torch.arange(8.0)


def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def train(*several, loggers=None, **settings):
    settings = {"steps": 6, "log_every": 2, "batch_size": None, "progress": False, **settings}
    loggers = several if loggers is None else loggers
    return fit(model, AutoNormal(model), Trace_ELBO(), X, loggers=loggers, device="cpu", **settings)


def read_csv(folder):
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv(tmp_path):
    history = train(CSVLogger(tmp_path))
    rows = read_csv(tmp_path)
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert [float(row["train/loss"]) for row in rows] == history.series("loss")[1]
    assert [float(row["epoch"]) for row in rows] == [2, 4, 6]
    assert {float(row["learning_rate"]) for row in rows} == {1e-3}


def test_tensorboard(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = train(TensorBoardLogger(tmp_path))
    (path,) = tmp_path.rglob("events.out.*")
    accumulator = accumulators.EventAccumulator(str(path)).Reload()
    events = accumulator.Scalars("train/loss")
    assert [event.step for event in events] == [2, 4, 6]
    assert [event.value for event in events] == pytest.approx(history.series("loss")[1])
    rates = [event.value for event in accumulator.Scalars("learning_rate")]
    assert rates == pytest.approx([1e-3] * 3)


def validate(event):
    if event.kind == "epoch" and event.step == 4:
        event.history.add(event.step, event.epoch, "validation", {"loss": 1.5})


def test_rows_of_callbacks_are_handed_on_too(tmp_path):
    train(CSVLogger(tmp_path), callbacks=[validate])
    rows = read_csv(tmp_path)
    assert [row["step"] for row in rows if row["validation/loss"]] == ["4"]
    assert [float(row["validation/loss"]) for row in rows if row["validation/loss"]] == [1.5]
    assert sum(bool(row["train/loss"]) for row in rows) == 3


def test_a_resumed_training_hands_on_its_new_rows_alone(tmp_path):
    train(CSVLogger(tmp_path / "one"), steps=4, folder=tmp_path / "run")
    train(CSVLogger(tmp_path / "two"), folder=tmp_path / "run", resume=True)
    steps = [[row["step"] for row in read_csv(tmp_path / name)] for name in ("one", "two")]
    assert steps == [["2", "4"], ["6"]]


def stop_by_signal(event):
    if event.kind == "log" and event.step == 4:
        signal.raise_signal(signal.SIGINT)


def stop_by_error(event):
    if event.kind == "log" and event.step == 4:
        raise KeyError("of a callback")


@pytest.mark.parametrize(
    ("callback", "error", "status"),
    [(stop_by_signal, Interrupted, "interrupted"), (stop_by_error, KeyError, "failed")],
)
def test_what_was_logged_is_kept_however_the_training_ends(callback, error, status, tmp_path):
    """The CSV logger writes each hundredth step, and when it is finalised."""
    logger = CSVLogger(tmp_path)
    statuses, finalize = [], logger.finalize
    logger.finalize = lambda status: (statuses.append(status), finalize(status))
    with pytest.raises(error):
        train(logger, callbacks=[callback], folder=tmp_path / "run")
    steps = [row["step"] for row in read_csv(tmp_path)]
    assert steps == (["2", "4"] if status == "interrupted" else ["2"])
    assert statuses == [status]


@pytest.mark.parametrize(
    ("loggers", "words"),
    [
        (["tensorboard"], r"expected a list of loggers of Lightning Fabric.*found str in it"),
        ("tensorboard", r"expected a list of loggers.*found str"),
    ],
)
def test_what_is_no_logger(loggers, words):
    with pytest.raises(ValueError, match=words):
        train(loggers=loggers)


def test_a_logger_outside_a_list(tmp_path):
    with pytest.raises(ValueError, match=r"expected a list of loggers.*found CSVLogger$"):
        train(loggers=CSVLogger(tmp_path))
