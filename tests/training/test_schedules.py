"""Schedules of the learning rate."""

import math
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta
from torch.optim import lr_scheduler as schedules

from pyro_mivae.training import CheckpointError, fit

X = torch.arange(8.0)


def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def train(steps=6, **settings):
    """Rows, learning rates at the readings, and the parameter."""
    rates = []
    guide = AutoDelta(model)
    settings = {"log_every": 1, "batch_size": 5, "device": "cpu", "progress": False, **settings}
    history = fit(
        *(model, guide, Trace_ELBO(), X),
        steps=steps,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
        callbacks=[lambda event: event.kind == "log" and rates.append(event.learning_rate)],
        **settings,
    )
    return history.rows, rates, guide.loc.detach().clone()


def warm_up_and_decay(optimizer):
    first = schedules.LinearLR(optimizer, start_factor=0.1, total_iters=2)
    second = schedules.CosineAnnealingLR(optimizer, T_max=4)
    return schedules.SequentialLR(optimizer, [first, second], milestones=[2])


def halved_by_numpy(step):
    return np.float64(0.5) ** step


SCHEDULES = {
    "exponential": partial(schedules.ExponentialLR, gamma=0.5),
    "cosine": partial(schedules.CosineAnnealingLR, T_max=6),
    "restarts": partial(schedules.CosineAnnealingWarmRestarts, T_0=2),
    "milestones": partial(schedules.MultiStepLR, milestones=[1, 3], gamma=0.5),
    "one cycle": partial(schedules.OneCycleLR, max_lr=0.2, total_steps=6),
    "cyclic": partial(
        schedules.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=2, cycle_momentum=False
    ),
    "sequential": warm_up_and_decay,
    "chained": lambda optimizer: schedules.ChainedScheduler(
        [
            schedules.ConstantLR(optimizer, factor=0.1, total_iters=2),
            schedules.ExponentialLR(optimizer, gamma=0.9),
        ],
        optimizer=optimizer,
    ),
    "a function": partial(schedules.LambdaLR, lr_lambda=lambda step: 0.5**step),
    "numbers of NumPy": partial(schedules.LambdaLR, lr_lambda=halved_by_numpy),
    "a plateau": partial(schedules.ReduceLROnPlateau, patience=0, factor=0.5, threshold=1e9),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_training_is_the_same_bit_for_bit(name, tmp_path):
    settings = {"lr_scheduler": SCHEDULES[name], "folder": tmp_path}
    rows, rates, loc = train(lr_scheduler=SCHEDULES[name])
    _, first, _ = train(steps=3, **settings)
    resumed, second, again = train(resume=True, **settings)
    assert resumed == rows
    assert first + second == rates
    assert len(set(rates)) > 1
    assert torch.equal(again, loc)


def test_a_schedule_moves_after_every_step():
    """Eight data in batches of five: three epochs would give three rates, six steps give six."""
    _, rates, _ = train(lr_scheduler=partial(schedules.StepLR, step_size=1, gamma=0.5))
    assert rates == pytest.approx([0.1 * 0.5**step for step in range(1, 7)])


def test_a_plateau_is_looked_for_in_the_loss_of_each_reading():
    """By hand: the rate is halved after each reading that is not better than the best."""
    scheduler = partial(schedules.ReduceLROnPlateau, patience=0, factor=0.5)
    rows, rates, _ = train(steps=12, log_every=2, lr_scheduler=scheduler)
    rate, best, expected = 0.1, math.inf, []
    for row in rows:
        if row["loss"] < best * (1 - 1e-4):
            best = row["loss"]
        else:
            rate /= 2
        expected.append(rate)
    assert rates == pytest.approx(expected)
    assert len(set(rates)) > 1


class Halved:
    """A callable whose state is not plain."""

    def __init__(self):
        self.of = object()

    def __call__(self, step):
        return 0.5**step


REFUSED = {
    "a schedule that was made before": (
        schedules.StepLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0), 1),
        "expected a callable that makes a torch schedule.*gives StepLR of another optimiser",
    ),
    "what makes none": (lambda optimizer: 0.1, "found function, which gives float"),
    "a number": (0.1, "found float, which gives float"),
    "one that is too short": (
        partial(schedules.OneCycleLR, max_lr=0.2, total_steps=5),
        r"OneCycleLR ends after total_steps=5.*steps=6: use total_steps=6",
    ),
    "a state that is not plain": (
        partial(schedules.LambdaLR, lr_lambda=Halved()),
        "the state of LambdaLR has object, which a checkpoint can't hold",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, tmp_path):
    scheduler, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        train(lr_scheduler=scheduler, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("cosine", None, "lr_scheduler: CosineAnnealingLR there, None now"),
        ("cosine", SCHEDULES["exponential"], "CosineAnnealingLR there, ExponentialLR now"),
        (
            "cosine",
            partial(schedules.CosineAnnealingLR, T_max=9),
            "T_max of CosineAnnealingLR: 6 there, 9 now",
        ),
        (
            "milestones",
            partial(schedules.MultiStepLR, milestones=[1, 4], gamma=0.1),
            "gamma of MultiStepLR: 0.5 there, 0.1 now",
        ),
        (
            "a function",
            partial(schedules.LambdaLR, lr_lambda=lambda step: 0.9**step),
            "learning rate after step 3: 0.0125 there, 0.0729 now",
        ),
    ],
)
def test_no_training_goes_on_with_another_schedule(name, other, words, tmp_path):
    train(steps=3, lr_scheduler=SCHEDULES[name], folder=tmp_path)
    before = (tmp_path / "checkpoint.ckpt").read_bytes()
    with pytest.raises(CheckpointError, match=words):
        train(lr_scheduler=other, folder=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.ckpt").read_bytes() == before


def test_no_schedule_starts_in_a_training_without_one(tmp_path):
    train(steps=3, folder=tmp_path)
    with pytest.raises(CheckpointError, match="lr_scheduler: None there, ExponentialLR now"):
        train(lr_scheduler=SCHEDULES["exponential"], folder=tmp_path, resume=True)
