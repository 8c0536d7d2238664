"""Readings handed to the loggers of Lightning Fabric."""

import csv

import pyro
import pyro.distributions as dist
import pytest
import torch
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from pyro_mivae.training import fit

X = torch.arange(8.0)


def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def train(*loggers):
    settings = {"device": "cpu", "progress": False, "steps": 6, "log_every": 2, "batch_size": None}
    return fit(model, AutoNormal(model), Trace_ELBO(), X, loggers=loggers, **settings)


def test_csv(tmp_path):
    history = train(CSVLogger(tmp_path))
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert [float(row["train/loss"]) for row in rows] == history.series("loss")[1]
    assert [float(row["epoch"]) for row in rows] == [2, 4, 6]


def test_tensorboard(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = train(TensorBoardLogger(tmp_path))
    (path,) = tmp_path.rglob("events.out.*")
    events = accumulators.EventAccumulator(str(path)).Reload().Scalars("train/loss")
    assert [event.step for event in events] == [2, 4, 6]
    assert [event.value for event in events] == pytest.approx(history.series("loss")[1])


def test_what_is_no_logger():
    with pytest.raises(ValueError, match=r"loggers of Lightning Fabric.*found str"):
        train("tensorboard")
