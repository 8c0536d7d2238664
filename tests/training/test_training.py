import math
import os
import pickle
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import nn

from pyro_mivae.batches import Batches, permutation
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import (
    Interrupted,
    NonFiniteError,
    evaluate,
    fit,
    make_fabric,
)
from pyro_mivae.training.checkpoints import (
    NAME,
    PREVIOUS,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)


class Model(nn.Module):
    """x ~ N(z + shift, 1), z ~ N(0, 1); BatchNorm-free, with a Bernoulli head on request."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 2)

    def forward(self, x):
        loc, raw = self.linear(x.unsqueeze(-1)).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 1e-3))


def pair(seed=0):
    torch.manual_seed(seed)
    return Model(), Guide()


def elbo(**kwargs):
    return TraceMI_ELBO(**{"channel": "sample", "mi_weight": 0.5, **kwargs})


X = torch.linspace(-2.0, 3.0, 25)


def state(*modules):
    return [p.detach().clone() for m in modules for p in m.parameters()]


def train(model, guide, objective=None, **kwargs):
    settings = {"steps": 20, "batch_size": 10, "log_every": 7, "progress": False, "device": "cpu"}
    return fit(model, guide, objective or elbo(), X, **{**settings, **kwargs})


def interrupt_at(step, number=signal.SIGINT):
    def callback(event):
        if event.kind == "log" and event.step == step:
            os.kill(os.getpid(), number)

    return callback


def test_learns_the_known_optimum():
    model, guide = pair()
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.03)  # noqa: E731
    train(model, guide, TraceMI_ELBO(channel="mean", mi_weight=0.0), steps=1500, optimizer=adam)
    # E[x] = shift; the posterior is N((x - shift) / 2, 1/2).
    assert abs(model.shift.item() - X.mean().item()) < 0.1
    weight = guide.linear.weight[:, 0]
    assert abs(weight[0].item() - 0.5) < 0.05
    scale = nn.functional.softplus(guide.linear.bias[1]).item()
    assert abs(scale - 0.5**0.5) < 0.1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, number):
    schedule = lambda step: 0.1 * step  # noqa: E731
    whole = pair()
    expected = train(*whole, elbo(mi_weight=schedule))
    parts = pair()
    with pytest.raises(Interrupted, match=f"{number.name} after step 7") as caught:
        train(
            *parts, elbo(mi_weight=schedule), folder=tmp_path, callbacks=[interrupt_at(7, number)]
        )
    assert (caught.value.step, caught.value.signal) == (7, number)
    fresh = pair(seed=99)
    torch.manual_seed(1234)
    history = train(*fresh, elbo(mi_weight=schedule), folder=tmp_path, resume=True)
    assert all(map(torch.equal, state(*whole), state(*fresh)))
    assert history.rows == expected.rows


def test_a_stop_between_two_readings_loses_no_term(tmp_path):
    expected = train(*pair())
    # Two stops of four and of six steps: neither is a multiple of log_every = 7.
    train(*pair(), steps=4, folder=tmp_path, log_every=7)
    history = train(*pair(1), steps=20, folder=tmp_path, resume=True)
    assert [r["step"] for r in history.rows] == [7, 14, 20]
    assert history.rows == expected.rows
    # Nothing is left to do: the part of a row at the end stays.
    again = train(*pair(1), steps=20, folder=tmp_path, resume=True)
    assert again.rows == expected.rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["log", "end"])
def test_a_signal_in_the_last_step_is_not_lost(tmp_path, number, kind):
    def stop(event):
        if event.kind == kind and event.step == 20:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match=f"{number.name} after step 20"):
        train(*pair(), folder=tmp_path, callbacks=[stop])
    history = train(*pair(1), folder=tmp_path, resume=True)
    assert history.rows == train(*pair()).rows


def test_without_a_folder_signals_are_left_alone():
    # A program started in the background begins with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def stop(event):
        if event.kind == "log":
            os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            train(*pair(), callbacks=[stop])
    finally:
        signal.signal(signal.SIGINT, before)


class Exploding(Model):
    def __init__(self, at):
        super().__init__()
        self.calls, self.at = 0, at

    def forward(self, x):
        self.calls += 1
        x = x * float("nan") if self.calls >= self.at else x
        super().forward(x)


def test_a_term_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    guide = pair()[1]
    # Called once to find parameters and once a step; dual pass off.
    objective = TraceMI_ELBO(channel="mean", mi_weight=0.0)
    model = Exploding(at=14)
    with pytest.raises(NonFiniteError, match=r"'log_likelihood' is nan at step 13.*last good"):
        train(model, guide, objective, folder=tmp_path, checkpoint_every=5, log_every=20)
    kept = load_checkpoint(tmp_path)
    assert kept["step"] == 10
    assert all(bool(v.isfinite().all()) for v in kept["objective"].values())


def test_checkpoints_rotate_and_are_loaded_without_executing_anything(tmp_path):
    train(*pair(), folder=tmp_path, checkpoint_every=8)
    assert load_checkpoint(tmp_path)["step"] == 20
    (tmp_path / NAME).unlink()
    assert load_checkpoint(tmp_path)["step"] == 16

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    (tmp_path / NAME).write_bytes(pickle.dumps(Evil()))
    assert load_checkpoint(tmp_path)["step"] == 16
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(CheckpointError, match=r"can't be read.*No good checkpoint is left"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_truncated_checkpoint_is_named(tmp_path):
    train(*pair(), folder=tmp_path)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="can't be read as a checkpoint"):
        train(*pair(), folder=tmp_path, resume=True)


def test_function_pairs_train_through_the_param_store(tmp_path):
    def model(x):
        shift = pyro.param("shift", torch.zeros(()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        weight = pyro.param("weight", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(weight * x, scale))

    train(model, guide, steps=12)
    expected = {n: v.detach().clone() for n, v in pyro.get_param_store().items()}
    assert expected["weight"] != 0.1
    pyro.clear_param_store()
    train(model, guide, steps=5, folder=tmp_path)
    pyro.clear_param_store()
    train(model, guide, steps=12, folder=tmp_path, resume=True)
    for name, value in expected.items():
        assert torch.equal(pyro.param(name), value), name


class PyroPair(PyroModule):
    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(2.0), constraint=dist.constraints.positive)

    def forward(self, x):
        mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, self.scale), obs=x)


def test_pyro_modules_stay_out_of_the_param_store():
    with pyro.settings.context(module_local_params=True):
        model = PyroPair()
        guide = AutoNormal(model)
    train(model, guide, Trace_ELBO(), steps=5, batch_size=None)
    assert len(pyro.get_param_store()) == 0
    assert model.scale.item() != 2.0
    moved = [p for p in guide.parameters() if p.abs().max() > 1e-8]
    assert moved


def test_pyro_modules_made_under_default_settings_train():
    model = PyroPair()
    train(model, AutoNormal(model), Trace_ELBO(), steps=5, batch_size=None)
    assert len(pyro.get_param_store()) == 0
    assert model.scale.item() != 2.0


def test_parameters_that_come_late_are_named(caplog):
    calls = []

    def model(x):
        calls.append(1)
        loc = pyro.param("loc", torch.tensor(0.0))
        if len(calls) > 3:
            loc = loc + pyro.param("late", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    x = torch.ones(4)
    settings = {"steps": 6, "log_every": 2, "device": "cpu", "progress": False}
    fit(model, lambda x: None, Trace_ELBO(), x, **settings)
    [message] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert (
        "the parameters ['late'] came into Pyro's store after the first run, at step 4" in message
    )
    caplog.clear()
    fit(model, lambda x: None, Trace_ELBO(), x, **settings)
    assert not caplog.records


def test_two_models_in_one_process_both_learn():
    first, second = pair(1), pair(2)
    before = state(*first), state(*second)
    train(*first)
    after_first = state(*first)
    train(*second)
    assert all(map(torch.equal, state(*first), after_first))
    assert not any(map(torch.equal, state(*second), before[1]))


def test_trace_graph_trains_through_fit():
    history = train(*pair(), TraceGraph_ELBO())
    assert "elbo" in history.rows[-1]
    assert "mi" not in history.columns()


def test_history_is_the_mean_per_datum():
    seen = []
    model, guide = pair()
    objective = TraceMI_ELBO(channel="mean", mi_weight=0.0)
    inner = objective._terms

    def spy(*args, **kwargs):
        terms = inner(*args, **kwargs)
        seen.append((terms["loss"].item(), len(args[0].args[0])))
        return terms

    objective._terms = spy
    history = train(model, guide, objective, steps=3, log_every=3)
    values = [loss / count for loss, count in seen[-3:]]
    assert [count for _, count in seen[-3:]] == [10, 10, 5]
    assert history.rows[0]["loss"] == pytest.approx(sum(values) / 3, rel=1e-6)
    assert history.rows[0]["epoch"] == 1.0


def test_nothing_in_a_step_waits_for_the_device(monkeypatch):
    """With validation off, as after the first step, no tensor is read on the host."""
    waits = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def spy(self, *args, _name=name, _original=original, **kwargs):
            waits.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, spy)
    counts = []

    class Adam(torch.optim.SGD):
        def zero_grad(self, *args, **kwargs):
            counts.append(len(waits))
            super().zero_grad(*args, **kwargs)

    train(
        *pair(),
        elbo(channel="straight-through"),
        steps=6,
        log_every=6,
        batch_size=25,
        optimizer=lambda p: Adam(p, lr=1e-3),
    )
    assert counts[-1] == counts[-2] == counts[-3], waits


def test_order_of_the_data_is_a_function_of_seed_and_epoch():
    assert torch.equal(permutation(100, 3, 5), permutation(100, 3, 5))
    orders = [permutation(100, s, e).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4
    assert all(sorted(o) == list(range(100)) for o in orders)
    batches = Batches([torch.arange(25)], 10, 0, None)
    epoch = [batches.at(step).args[0] for step in (3, 4, 5)]
    assert [len(b) for b in epoch] == [10, 10, 5]
    assert torch.equal(torch.cat(epoch), permutation(25, 0, 1))


def test_evaluation_changes_nothing():
    model, guide = pair()
    model.train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = evaluate(model, guide, elbo(), X, batch_size=10)
    assert torch.equal(torch.get_rng_state(), before)
    assert one == evaluate(model, guide, elbo(), X, batch_size=10)
    assert one != evaluate(model, guide, elbo(), X, batch_size=10, seed=1)
    assert model.training
    assert one["loss"] == pytest.approx(
        -one["log_likelihood"] + one["kl"] - 0.5 * one["mi"], rel=1e-5
    )


def test_validation_is_on_for_the_first_step_only_and_restored():
    seen = []

    class Watching(Model):
        def forward(self, x):
            seen.append(torch.distributions.Distribution._validate_args)
            super().forward(x)

    train(Watching(), pair()[1], TraceMI_ELBO(channel="mean", mi_weight=0.0), steps=4)
    # Finding parameters, then four steps.
    assert seen == [True, True, False, False, False]
    assert torch.distributions.Distribution._validate_args


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, found 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"resume": True}, "needs the folder"),
        ({"device": "cuda"}, "finds no CUDA device"),
    ],
)
def test_bad_settings(settings, words):
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=words):
        train(*pair(), **settings)


def test_bad_data():
    with pytest.raises(ValueError, match=r"equal length above 0, found lengths \[25, 3\]"):
        fit(*pair(), elbo(), [X, X[:3]], steps=1, device="cpu")


def test_a_pair_without_parameters():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match="no parameters to train"):
        train(model, guide)


def test_an_optimiser_of_another_model_is_refused(tmp_path):
    other, folder = torch.optim.Adam(Model().parameters()), tmp_path / "run"
    for optimizer in (other, lambda parameters: other):
        with pytest.raises(ValueError, match="Adam with other parameters, none of the 3"):
            train(*pair(), optimizer=optimizer, folder=folder)
    assert not folder.exists()


def test_an_optimiser_that_leaves_the_guide_out_is_told(caplog):
    model, guide = pair()
    train(model, guide, optimizer=torch.optim.Adam(model.parameters()))
    assert "the Adam leaves out 2 of 3 parameters" in caplog.text
    train(*pair(), optimizer=lambda parameters: torch.optim.Adam(parameters[:1]))
    assert caplog.text.count("leaves out") == 1


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_draws_are_not_the_noise_of_data_of_the_same_seed(seed):
    """The ELBO of 2,000 data has an error of .02 nats; with their own noise it is .65 too good."""
    torch.manual_seed(seed)
    x = torch.randn(2000) * 2**0.5

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.9))

    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.0)
    terms = evaluate(model, guide, elbo, x, batch_size=2000, seed=seed)
    exact = -0.5 * math.log(2 * math.pi) - 0.5 * ((x / 2) ** 2 + 0.9**2).mean()
    assert abs(terms["log_likelihood"] - float(exact)) < 0.1


@pytest.mark.parametrize("log_every", [5, 7, 50])
def test_an_extended_training_is_the_whole_one_also_behind_a_last_row(tmp_path, log_every):
    """`prepare` draws: the row of the last step read its batch once more, which drew again."""

    def noisy(x):
        return torch.bernoulli(x.clamp(0.2, 0.8))

    states = []
    for folder, parts in ((tmp_path / "whole", (12,)), (tmp_path / "parts", (6, 12))):
        folder.mkdir()
        trained = pair()
        for steps in parts:
            settings = {"folder": folder, "resume": steps == 12 and len(parts) > 1}
            settings |= {"steps": steps, "log_every": log_every, "prepare": noisy}
            train(*trained, **settings)
        states.append(state(*trained))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_a_checkpoint_has_the_seconds_of_all_its_sessions(tmp_path):
    train(*pair(), folder=tmp_path, steps=5)
    saved = load_checkpoint(tmp_path)
    assert 0 < saved["seconds"] < 100
    save_checkpoint(make_fabric("cpu"), tmp_path, {**saved, "seconds": 1000.0})
    train(*pair(), folder=tmp_path, steps=6, resume=True)
    assert 1000 < load_checkpoint(tmp_path)["seconds"] < 1100


def test_an_error_names_no_checkpoint_that_is_not_there(tmp_path):
    def broken(x):
        return x * float("nan")

    with pytest.raises(NonFiniteError) as error:
        train(*pair(), folder=tmp_path, prepare=broken)
    assert "last good checkpoint" not in str(error.value)
