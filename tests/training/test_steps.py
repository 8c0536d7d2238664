"""Recorded steps in `fit`: eager numbers, the choice, the check against eager steps."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, TraceGraph_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO, compile_elbo
from pyro_mivae.training import RecordingError, fit, load_checkpoint, steps
from tests.training.opponents_in_training import Players

pytestmark = pytest.mark.usefixtures("one_thread")


class Pair(nn.Module):
    """A Gaussian pair with running statistics, and numbers that are not tensors."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 3)
        self.normed = nn.BatchNorm1d(3)
        self.encoder = nn.Linear(3, 4)
        self.factor = 1.0
        self.calls = 0

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.normed(self.decoder(c)) * self.factor
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        self.calls += 1
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(loc, raw.exp()).to_event(1))


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


def train(compile_it, pair=None, elbo=None, **settings):
    torch.manual_seed(0)
    pair = Pair() if pair is None else pair
    elbo = elbo or TraceMI_ELBO(
        channel="straight-through",
        codes="c",
        mi_weight=lambda step: min(1.0, step / 5),
        kl_weight=lambda step: 1 / (1 + step),
    )
    settings = {"steps": 12, "batch_size": 20, "log_every": 1, **settings}
    history = fit(
        pair.model,
        pair.guide,
        elbo,
        X,
        device="cpu",
        progress=False,
        compile=compile_it,
        **settings,
    )
    return pair, history


def assert_alike(one, other, rel=1e-5):
    for a, b in zip(one[1].rows, other[1].rows, strict=True):
        numbers = {name: value for name, value in a.items() if isinstance(value, float)}
        assert {"loss", "mi", "kl"} & set(numbers)
        assert {name: b[name] for name in numbers} == pytest.approx(numbers, rel=rel, abs=rel)
    for name, value in one[0].state_dict().items():
        torch.testing.assert_close(other[0].state_dict()[name], value, rtol=rel, atol=rel)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_replayed_steps_have_the_eager_numbers(precision):
    """Under schedules of lambda and beta, with batches of two sizes."""
    eager, replayed = (
        train(compile_it, precision=precision, batch_size=16, steps=24)
        for compile_it in (False, "replay")
    )
    assert_alike(eager, replayed, rel=1e-5 if precision == "32-true" else 1e-2)
    # The program itself ran for the first look, looks and records of two shapes, and the checks of
    # the steps 1, 10 and 24.
    assert replayed[0].calls < eager[0].calls / 2


def test_no_numbers_come_from_the_check(monkeypatch):
    one = train("replay")
    monkeypatch.setattr(steps, "CHECKED", ())
    assert_alike(one, train("replay"), rel=0)


@pytest.mark.parametrize("compile_it", ["replay", "auto"])
def test_a_resumed_training_is_the_uninterrupted_one(compile_it, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "FEWEST", 4)
    monkeypatch.setattr(steps, "TIMED", 2)
    uninterrupted = train(compile_it)
    pair, _ = train(compile_it, steps=7, folder=tmp_path)
    resumed = train(compile_it, pair=pair, folder=tmp_path, resume=True)
    assert_alike(uninterrupted, resumed, rel=0)
    assert load_checkpoint(tmp_path)["record"]["steps"] == "replayed"


def changing(pair, at):
    def change(event):
        if event.step == at:
            pair.factor = 1.5

    return change


@pytest.mark.parametrize("compile_it", ["replay", "auto"])
def test_a_number_that_changes_ends_the_training_at_the_next_check(compile_it, monkeypatch):
    monkeypatch.setattr(steps, "FEWEST", 4)
    pair, done = Pair(), []
    callbacks = [changing(pair, 5), lambda event: done.append(event.step)]
    with pytest.raises(
        RecordingError, match=r"recorded step gives .* in eager mode it is .*compile=False"
    ):
        train(compile_it, pair=pair, callbacks=callbacks)
    assert done[-1] == 9  # step 10 is checked


@pytest.mark.parametrize("at", [11, 14])
def test_a_number_that_changes_after_the_last_of_these_checks_is_found_at_the_end(at):
    """A training of fewer than 1000 steps ended without another look."""
    pair, done = Pair(), []
    callbacks = [changing(pair, at), lambda event: done.append(event.step)]
    with pytest.raises(RecordingError, match="recorded step gives"):
        train("replay", steps=15, pair=pair, callbacks=callbacks)
    assert done[-1] == 14


def test_a_counter_is_found_in_the_first_step():
    class Counting(Pair):
        def model(self, x):
            self.factor = 1 + self.calls
            super().model(x)

    with pytest.raises(RecordingError, match="a counter"):
        train("replay", pair=Counting())


def test_a_gradient_that_is_switched_off_is_found():
    class Cut(Pair):
        def model(self, x):
            with pyro.plate("data", len(x)):
                c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                weight = self.decoder.weight
                if self.factor != 1:  # the values stay
                    weight = weight.detach() + 0 * weight
                loc = nn.functional.linear(c, weight)
                pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    pair = Cut()
    with pytest.raises(RecordingError, match="a gradient of shape"):
        train("replay", pair=pair, callbacks=[changing(pair, 5)])


def test_few_steps_are_eager_and_the_checkpoint_says_why(tmp_path):
    eager, automatic = train(False), train("auto", folder=tmp_path)
    assert_alike(eager, automatic, rel=0)
    record = load_checkpoint(tmp_path)["record"]
    assert record["steps"] == "eager"
    assert "500 steps" in record["steps_because"]


@pytest.mark.parametrize(("saves", "way"), [(0.0, "replayed"), (1e6, "compiled")])
def test_the_first_steps_decide_what_is_compiled(saves, way, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(steps, "FEWEST", 4)
    monkeypatch.setattr(steps, "TIMED", 4)
    monkeypatch.setattr(steps, "SHARE", saves)
    made = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: made.append(1) or function)
    with caplog.at_level(logging.INFO, logger="pyro_mivae.training.steps"):
        trained = train("auto", folder=tmp_path)
    [message] = caplog.messages
    assert message.startswith("steps are compiled" if saves else "steps are replayed, not compiled")
    assert "7 steps of" in message  # 2 to 5 are timed; in 1 the pair is recorded
    record = load_checkpoint(tmp_path)["record"]
    assert (record["steps"], record["steps_because"]) == (way, message)
    assert bool(made) is (way == "compiled")
    assert_alike(train(False), trained)
    # Going on takes the choice up, whatever the times would say now.
    monkeypatch.setattr(steps, "SHARE", 1e6 - saves)
    pair, made[:] = trained[0], []
    train("auto", pair=pair, folder=tmp_path, steps=24, resume=True)
    assert bool(made) is (way == "compiled")
    assert load_checkpoint(tmp_path)["record"]["steps"] == way


def test_another_way_on_resuming_is_said(tmp_path, caplog):
    pair, _ = train("replay", folder=tmp_path, steps=4)
    train(False, pair=pair, folder=tmp_path, steps=8, resume=True)
    assert "of replayed steps, this training of eager steps" in caplog.text


class Labelled(Pair):
    """With a category that TraceEnum_ELBO sums out."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample(
                "c", dist.Categorical(logits=torch.zeros(2)), infer={"enumerate": "parallel"}
            )
            pyro.sample("x", dist.Normal(self.decoder.bias, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            logits = self.encoder(x)[:, :2]
            pyro.sample("c", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})


@pytest.mark.parametrize("base", [TraceEnum_ELBO, TraceGraph_ELBO])
def test_what_cant_be_recorded_runs_eagerly_and_says_so_once(base, monkeypatch, caplog, recwarn):
    monkeypatch.setattr(steps, "FEWEST", 4)
    options = {"max_plate_nesting": 1} if base is TraceEnum_ELBO else {}
    with caplog.at_level(logging.INFO, logger="pyro_mivae.training.steps"):
        automatic = train("auto", pair=make(Labelled), elbo=base(**options))
    assert_alike(train(False, pair=make(Labelled), elbo=base(**options)), automatic, rel=0)
    [message] = caplog.messages
    assert message.startswith("steps run in eager mode: ")
    assert not [w for w in recwarn if "compile_elbo" in str(w.message)]  # nobody asked for it
    with pytest.warns(UserWarning, match="run in eager mode, without compile_elbo"):
        train("replay", pair=make(Labelled), elbo=base(**options))


def make(pair):
    torch.manual_seed(0)
    return pair()


def test_two_players_are_eager_and_say_so_once(caplog):
    automatic, eager = Players(), Players()
    with caplog.at_level(logging.INFO, logger="pyro_mivae.training"):
        automatic.train(compile="auto", steps=2)
    assert [m for m in caplog.messages if "eager mode" in m] == [
        "steps run in eager mode: TraceMI_GAN has two losses"
    ]
    eager.train(steps=2)
    for name, value in eager.state().items():
        assert torch.equal(automatic.state()[name], value)


@pytest.mark.parametrize("compile_it", ["always", None, 2])
def test_another_word_is_refused(compile_it):
    with pytest.raises(ValueError, match="compile must be one of False, True, 'auto', 'replay'"):
        train(compile_it)


def test_what_was_recorded_can_take_a_compiler(monkeypatch):
    made = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: made.append(1) or function)
    pair = make(Pair)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    recorded = compile_elbo(elbo, pair.model, pair.guide, backend=None)
    expected = recorded(X)
    assert not made
    assert not recorded.graphs[0].compiled
    recorded.use("inductor")
    torch.manual_seed(0)
    recorded(X)
    assert made == [1]
    assert expected.requires_grad
