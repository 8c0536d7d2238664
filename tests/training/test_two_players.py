"""Training of `TraceMI_GAN` by `fit`: two players, their turns, optimisers, checkpoints, terms."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from lightning_fabric.loggers.logger import Logger
from opponents_in_training import Players, X, same
from pyro.infer import Trace_ELBO
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from pyro_mivae.batches import permutation
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN, compile_elbo
from pyro_mivae.training import (
    CheckpointError,
    EarlyStopping,
    NonFiniteError,
    evaluate,
    fit,
    has_checkpoint,
    load_checkpoint,
)

pytestmark = pytest.mark.usefixtures("one_thread")

RATES = {"model": 1e-3, "reader": 5e-4}


def test_a_step_is_the_turns_of_the_objective_written_out():
    """Two readers' turns on a batch each, then the model's on the x' of the second."""
    players, by_hand = Players(), Players()
    history = players.train(steps=3, discriminator_steps=2, log_every=1)
    pyro.set_rng_seed(0)
    gan, pair = by_hand.gan, (by_hand.model, by_hand.guide)
    owned = gan.players(*pair, X)
    optimizers = {
        name: Adam(getattr(owned, name).values(), lr=rate, betas=(0.5, 0.999), fused=True)
        for name, rate in RATES.items()
    }
    gan.terms(*pair, X)  # fit, too, looks once
    pyro.set_rng_seed(0)
    number = 0
    for step in range(3):
        batches = []
        for _ in range(2):
            order = permutation(24, 0, number // 3)
            batches.append(X[order[10 * (number % 3) : 10 * (number % 3 + 1)]])
            number += 1
        turns = [gan.reader_step(*pair, batches[0])]
        seen = []
        for turn in (turns[0], None, None):
            if turn is None:
                turns = turns[1:] or list(gan.steps(*pair, batches[1]))
                turn = turns[0]
            optimizers[turn.player].zero_grad()
            terms, loss = turn()
            loss.backward()
            optimizers[turn.player].step()
            seen.append(terms)
        gan.step += 1
        row = history.rows[step]
        expected = (seen[0]["discriminator"] + seen[1]["discriminator"]) / 2
        assert row["discriminator"] == pytest.approx(float(expected), rel=1e-6)
        assert row["mi"] == pytest.approx(float(seen[2]["mi"]), rel=1e-6)
    assert same(players.state(), by_hand.state())
    assert players.gan.step == 3
    assert [row["epoch"] for row in history.rows] == pytest.approx([2 / 3, 4 / 3, 2])


def test_rows_have_the_names_of_terms_and_what_evaluate_gives():
    players = Players()
    row = players.train().rows[-1]
    names = list(players.gan.terms(players.model, players.guide, X))
    assert [name for name in row if name not in ("step", "epoch", "split")] == names
    before = players.state()
    values = evaluate(players.model, players.guide, players.gan, X, batch_size=10)
    assert list(values) == names
    assert values == evaluate(players.model, players.guide, players.gan, X, batch_size=10)
    assert same(before, players.state())
    assert players.discriminator.training


def test_evaluation_takes_the_running_statistics():
    """A datum's logits then do not depend on its batch: the mean over batches is that of all."""
    players = Players(adversary="hinge")
    players.train(steps=20)
    one = evaluate(players.model, players.guide, players.gan, X, batch_size=24)
    other = evaluate(players.model, players.guide, players.gan, X, batch_size=7)
    assert one["discriminator/real"] == pytest.approx(other["discriminator/real"], rel=1e-5)
    players.discriminator.eval()
    by_hand = torch.relu(1 - players.discriminator(X)).mean()
    assert one["discriminator/real"] == pytest.approx(by_hand.item(), rel=1e-5)


def test_running_statistics_are_those_of_the_real_data_in_the_discriminator():
    players = Players()
    players.train(steps=1, batch_size=24)
    fresh = Players()
    norm, inner = fresh.discriminator.trunk[1], fresh.discriminator.trunk[0](X)
    expected = norm.momentum * inner.mean(0)
    torch.testing.assert_close(players.discriminator.trunk[1].running_mean, expected.detach())
    assert players.discriminator.trunk[1].num_batches_tracked == 1
    assert players.model.norm.num_batches_tracked == 1


@pytest.mark.parametrize("turns", [1, 3])
def test_no_forward_pass_too_much(turns):
    """A step runs the model once for each turn of the reader, and asks both of two players."""
    players = Players()
    parts = players.model, players.guide, players.discriminator
    counts = []
    for steps in (1, 11, 21):
        before = [part.calls for part in parts]
        players.train(steps=steps, log_every=steps, discriminator_steps=turns, batch_size=8)
        counts.append([p.calls - b for p, b in zip(parts, before, strict=True)])
    more = [b - a for a, b in zip(*counts[1:], strict=True)]  # ten steps, and nothing else
    assert more == [10 * turns, 10 * (turns + 1), 10 * (2 * turns + 1)]


SCHEDULES = {
    "model": partial(ExponentialLR, gamma=0.9),
    "reader": partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=10.0),
}


@pytest.mark.parametrize("turns", [1, 2])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, turns):
    """Both players, both optimisers and schedules, the average, lambda's schedule, rows."""
    settings = {"average": 0.5, "lr_scheduler": SCHEDULES, "discriminator_steps": turns}
    options = {"mi_weight": lambda step: 0.1 * step}
    expected = Players(**options)
    rows = expected.train(folder=tmp_path / "a", steps=9, **settings).rows
    Players(**options).train(folder=tmp_path / "b", steps=4, **settings)
    resumed = Players(seed=99, **options)
    torch.manual_seed(1234)
    again = resumed.train(folder=tmp_path / "b", steps=9, resume=True, **settings).rows
    assert again == rows
    assert same(expected.state(), resumed.state())
    assert resumed.gan.step == 9
    one, other = (load_checkpoint(tmp_path / name) for name in "ab")
    for entry in ("objective", "random", ("average", "weights")):
        entry = (entry,) if isinstance(entry, str) else entry
        left, right = one, other
        for key in entry:
            left, right = left[key], right[key]
        assert same(left, right)
    for player in ("model", "reader"):
        states = [state["optimizer"][player] for state in (one, other)]
        assert states[0]["param_groups"] == states[1]["param_groups"]
        for key, moments in states[0]["state"].items():
            assert same(moments, states[1]["state"][key])
    assert one["schedule"] == other["schedule"]


def test_the_default_optimisers_and_those_by_player():
    rates = []
    note = lambda event: rates.append(dict(event.learning_rates))  # noqa: E731
    players = Players()
    players.train(steps=1, callbacks=[note])
    assert rates[-1] == pytest.approx(RATES)
    made = []

    def remember(parameters, lr):
        made.append(SGD(parameters, lr=lr))
        return made[-1]

    players.train(optimizer=partial(remember, lr=0.1), steps=1, callbacks=[note])
    sizes = [sum(p.numel() for p in o.param_groups[0]["params"]) for o in made]
    whole = [players.discriminator, players.guide.head]
    assert sizes[0] == sum(p.numel() for module in whole for p in module.parameters())
    assert sizes[1] == sum(p.numel() for p in players.model.parameters())
    players.train(optimizer={"reader": partial(remember, lr=0.3)}, steps=1, callbacks=[note])
    assert rates[-1] == pytest.approx({"reader": 0.3, "model": 1e-3})


def test_what_is_refused():
    players = Players()
    adam = partial(Adam, lr=1e-3)
    cases = [
        ({"optimizer": {"generator": adam}}, r"optimizer: .*'reader', 'model'; found 'generator'"),
        ({"lr_scheduler": {"D": adam}}, "lr_scheduler: .*found 'D'"),
        ({"optimizer": SGD(players.model.parameters(), lr=1.0)}, r"by player, found one SGD"),
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1, found 0"),
        ({"discriminator_steps": 1.5}, "must be a whole number, at least 1, found 1.5"),
        ({"average": 1.0}, "average: expected None, or the decay .* found 1.0"),
        (
            {"compile": compile_elbo(TraceMI_ELBO(channel="mean"), players.model, players.guide)},
            "expected False",
        ),
    ]
    for settings, words in cases:
        with pytest.raises(ValueError, match=words):
            players.train(**settings)
    settings = {"steps": 1, "discriminator_steps": 2, "device": "cpu", "progress": False}
    with pytest.raises(ValueError, match="discriminator_steps=2 is for TraceMI_GAN"):
        fit(players.model, players.guide, Trace_ELBO(), X, **settings)
    for parameter in players.model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="the model has no parameters to train"):
        players.train()


def test_compile_is_eager_after_a_warning():
    players, eager = Players(), Players()
    with pytest.warns(UserWarning, match="TraceMI_GAN are computed in eager mode"):
        players.train(compile=True, steps=2)
    eager.train(steps=2)
    assert same(players.state(), eager.state())


def test_the_discriminator_is_put_into_training_mode():
    players, eager = Players(), Players()
    players.discriminator.eval()
    players.train(steps=2)
    eager.train(steps=2)
    assert same(players.state(), eager.state())


@pytest.mark.filterwarnings("ignore:Found plate statements in guide but not model")
@pytest.mark.filterwarnings("ignore:model or guide call modules whose parameters are not trained")
def test_a_checkpoint_of_another_objective_is_named(tmp_path):
    players = Players()
    players.train(folder=tmp_path / "gan", steps=2)
    elbo = {"steps": 2, "batch_size": 10, "device": "cpu", "progress": False}

    def with_elbo(folder, **settings):
        fit(
            players.model, guide_of_all(players), Trace_ELBO(), X, folder=folder, **elbo, **settings
        )

    with_elbo(tmp_path / "elbo")
    for resume in (True, False):
        with pytest.raises(
            CheckpointError, match=r"expected one of an ELBO.*found one of TraceMI_GAN"
        ):
            with_elbo(tmp_path / "gan", resume=resume)
        with pytest.raises(CheckpointError, match=r"one of TraceMI_GAN.*found one of an ELBO"):
            players.train(folder=tmp_path / "elbo", resume=resume)


def guide_of_all(players):
    """A guide of the noise, too, as an ELBO asks for."""

    def guide(x):
        pyro.module("reader", players.guide)
        loc, _, logits = players.guide.head(players.guide.trunk(x)).split([1, 1, 2], -1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("d", dist.OneHotCategorical(logits=logits))
            pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    return guide


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": {"reader": partial(Adam, lr=0.1)}}, "learning rate of the reader's Adam"),
        ({"optimizer": {"model": partial(SGD, lr=0.1)}}, "another optimiser"),
        ({"discriminator_steps": 2}, "discriminator_steps: 1 there, 2 now"),
        ({"average": 0.9}, "average: None there, 0.9 now"),
        ({"lr_scheduler": {"reader": SCHEDULES["model"]}}, "reader's lr_scheduler: None there"),
    ],
)
def test_no_training_goes_on_with_other_settings(tmp_path, settings, words):
    Players().train(folder=tmp_path, steps=2)
    before = (tmp_path / "checkpoint.ckpt").read_bytes()
    with pytest.raises(CheckpointError, match=words):
        Players().train(folder=tmp_path, resume=True, **settings)
    assert (tmp_path / "checkpoint.ckpt").read_bytes() == before


@pytest.mark.parametrize(("part", "turn"), [("discriminator", "reader"), ("model", "model")])
def test_an_infinite_term_is_named_with_its_player_and_step(tmp_path, part, turn):
    players = Players()

    def spoil(event):
        if event.kind == "log" and event.step == 2:
            module = players.discriminator.last if part == "discriminator" else players.model.out
            module.bias.data.fill_(math.inf if part == "discriminator" else math.nan)

    with pytest.raises(NonFiniteError, match=r"step 3") as caught:
        players.train(steps=9, log_every=1, folder=tmp_path, callbacks=[spoil])
    assert "reader" in str(caught.value)
    assert not has_checkpoint(tmp_path)


def test_early_stopping_by_any_term():
    stop = EarlyStopping("discriminator", patience=2, min_delta=100.0)
    history = Players().train(steps=50, log_every=1, callbacks=[stop])
    assert history.rows[-1]["step"] == 3
    with pytest.raises(ValueError, match=r"expected a column 'loss' .*loss/model"):
        Players().train(callbacks=[EarlyStopping()])


def test_the_bar_has_both_losses_and_the_information():
    from pyro_mivae.training.objective import make_game

    players = Players()
    row = players.train().rows[-1]
    game = make_game(players.model, players.guide, players.gan)
    assert game.short(row).startswith(
        f"D {row['discriminator']:.2f}, G {row['generator']:.2f}, MI "
    )
    assert len("training 2500/2500 steps || 00:12 left, " + game.short(row)) < 80
    assert "MI" not in game.short({"discriminator": 1.0, "generator": 1.0})


def test_parameters_in_the_store_and_functions(tmp_path):
    """A model that is a function with pyro.param, and a guide that registers its module."""
    inner = Players()

    def model(x):
        shift = pyro.param("shift", torch.zeros(2))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = shift + c * pyro.param("gain", torch.ones(2))
            pyro.sample("x", dist.Normal(loc, 0.3).to_event(1), obs=x)

    net = torch.nn.Linear(2, 2)

    def guide(x):
        pyro.module("net", net)
        loc, raw = net(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(loc, raw.exp()).to_event(1))

    gan = TraceMI_GAN(inner.discriminator, codes="c")
    before = net.weight.detach().clone()
    settings = {"device": "cpu", "progress": False, "folder": tmp_path, "average": 0.9}
    fit(model, guide, gan, X, steps=3, batch_size=8, **settings)
    store = pyro.get_param_store()
    assert set(store.keys()) >= {"shift", "gain"}
    assert store["shift"].abs().max() > 0
    assert not torch.equal(net.weight, before)
    state = load_checkpoint(tmp_path)
    assert torch.equal(state["average"]["weights"]["stored.shift"], store["shift"])
    sizes = {n: len(o["param_groups"][0]["params"]) for n, o in state["optimizer"].items()}
    assert sizes == {"reader": 8, "model": 2}


def test_parameters_of_the_store_that_come_late_are_named(caplog):
    players = Players()
    forward = players.model.forward

    def late(x):
        if players.model.calls > 5:
            pyro.param("late", torch.zeros(()))
        return forward(x)

    players.model.forward = late
    players.train()
    assert "the parameters ['late'] came into Pyro's store after the first run" in caplog.text


def test_checkpoints_of_before_the_players_are_gone_on_with(tmp_path):
    """They have one optimiser without a name, and the record has its settings at the top."""
    players = Players()
    schedule = SCHEDULES["model"]

    def train(seed, **settings):
        torch.manual_seed(seed)
        model = Players(seed=seed).model
        guide = guide_of_all(Players(seed=seed))
        settings = {"batch_size": 10, "device": "cpu", "progress": False, **settings}
        pyro.clear_param_store()
        fit(model, guide, Trace_ELBO(), X, lr_scheduler=schedule, **settings)
        return model.state_dict()

    expected = train(0, steps=6)
    train(0, steps=3, folder=tmp_path)
    state = load_checkpoint(tmp_path)
    state["optimizer"], state["schedule"] = state["optimizer"]["model"], state["schedule"]["model"]
    state["record"] |= state["record"].pop("players")["model"]
    for name in ("players", "average"):
        del state[name]
    for name in ("batches_per_step", "average"):
        del state["record"][name]
    torch.save(state, tmp_path / "checkpoint.ckpt")
    assert same(expected, train(1, steps=6, folder=tmp_path, resume=True))
    for settings, words in (
        ({"lr_scheduler": None}, "lr_scheduler: ExponentialLR there, None now"),
        ({"optimizer": partial(Adam, lr=0.5)}, "learning rate of Adam: 0.001 there, 0.5 now"),
    ):
        torch.save(state, tmp_path / "checkpoint.ckpt")
        settings = {"lr_scheduler": schedule, "resume": True, "folder": tmp_path, **settings}
        settings |= {"device": "cpu", "progress": False, "batch_size": 10, "steps": 6}
        pyro.clear_param_store()
        with pytest.raises(CheckpointError, match=words):
            fit(players.model, guide_of_all(players), Trace_ELBO(), X, **settings)


def test_loggers_get_both_learning_rates(tmp_path):
    lines = []

    class Lines(Logger):
        name, version = "lines", 0

        def log_metrics(self, metrics, step=None):
            lines.append((step, dict(metrics)))

        def log_hyperparams(self, *args, **kwargs):
            raise AssertionError

    history = Players().train(steps=4, loggers=[Lines()])
    (step, values), row = lines[-1], history.rows[-1]
    assert step == 4
    assert values["train/loss/reader"] == row["loss/reader"]
    assert values["learning_rate/reader"] == pytest.approx(5e-4)
    assert values["learning_rate/model"] == values["learning_rate"] == pytest.approx(1e-3)


def test_a_bad_draw_says_whose_turn_it_was():
    """NaN in a prior comes up in the reader's turn, which generates x'."""
    players = Players()

    def spoil(event):
        if event.kind == "log":
            players.model.logits.fill_(math.nan)

    with pytest.raises(NonFiniteError, match=r"step 2, reader's turn: site 'd' can't be drawn"):
        players.train(steps=9, log_every=1, callbacks=[spoil])


def test_an_epoch_ends_in_the_step_that_reads_its_last_batch():
    """Three batches in an epoch, two in a step: the first epoch ends within the second step."""
    ends = []
    note = lambda event: event.kind == "epoch" and ends.append(event.step)  # noqa: E731
    Players().train(steps=6, discriminator_steps=2, callbacks=[note])
    assert ends == [2, 3, 5, 6]
