"""`fit_many`: each copy is its own training."""

from functools import partial

import pytest
import torch
from many_pairs import (
    COUNTS,
    POINTS,
    QUIET,
    X,
    alone,
    assert_same,
    counts,
    functions,
    line,
    many,
    mivae,
    mixture,
    normalised,
    regression,
    state,
)
from torch.optim import lr_scheduler as schedules
from torch.utils.data import TensorDataset

from pyro_mivae.training import EarlyStopping, fit, fit_many, load_checkpoint


def on_and_off(step):
    return (0.4, 0.0, 0.0, 0.7, 0.8)[step]


def by_dimensions(parameters):
    """Weights decay, biases don't: groups by the shape that a parameter has by itself."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.5},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.01)


PAIRS = {
    "mean channel": (mivae("mean", 1.0), X, {}),
    "straight-through": (mivae("straight-through", 0.7), X, {}),
    "a schedule of lambda": (mivae("straight-through", on_and_off), X, {"drop_last": True}),
    "subsampling": (regression, POINTS, {"batch_size": None}),
    "draws of Poisson data, dropout": (counts, COUNTS, {}),
    # Not Adam: the bias before the normalisation has a gradient of rounding errors.
    "running statistics": (
        normalised,
        COUNTS,
        {"drop_last": True, "optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9)},
    ),
    "score functions": (mixture, POINTS, {}),
    "schedule of the rate": (
        line,
        POINTS,
        {"lr_scheduler": partial(schedules.CosineAnnealingLR, T_max=5)},
    ),
    "groups by dimension": (mivae("mean", 1.0), X, {"optimizer": by_dimensions}),
    "functions": (functions, POINTS, {}),
    "average": (line, POINTS, {"average": 0.8}),
    "a Dataset, drawn data": (
        line,
        torch.utils.data.StackDataset(TensorDataset(POINTS)),
        {"prepare": lambda batch: batch[0] + torch.randn(len(batch[0]), 1)},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_each_copy_is_its_own_training(name):
    make, data, settings = PAIRS[name]
    runs = many(make, data, steps=5, **settings)
    for seed, run in runs.items():
        assert_same(run, *alone(make, data, seed, steps=5, **settings))
    assert len({run.history.rows[-1]["loss"] for run in runs.values()}) == 3


@pytest.mark.parametrize(
    "optimizer",
    ["NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "SGD", "ASGD", "Rprop"],
)
def test_every_optimiser_that_is_taken_goes_number_by_number(optimizer, tmp_path):
    settings = {"optimizer": lambda parameters: getattr(torch.optim, optimizer)(parameters, lr=0.1)}
    many(line, POINTS, steps=3, folder=tmp_path, **settings)
    runs = many(line, POINTS, steps=5, folder=tmp_path, resume=True, **settings)
    for seed, run in runs.items():
        assert_same(run, *alone(line, POINTS, seed, steps=5, **settings))


def test_data_of_each_seed():
    data = {3: POINTS, 0: POINTS + 5.0, 8: POINTS * 2.0}
    runs = many(line, data, steps=4)
    for seed, run in runs.items():
        assert_same(run, *alone(line, data[seed], seed, steps=4))


@pytest.mark.parametrize("first", ["fit", "fit_many"])
def test_a_checkpoint_goes_on_by_either(first, tmp_path):
    schedule = {"lr_scheduler": partial(schedules.ExponentialLR, gamma=0.5), "average": 0.5}
    single = {seed: alone(line, POINTS, seed, steps=7, **schedule) for seed in (3, 0, 8)}
    folders = {seed: tmp_path / f"seed-{seed}" for seed in single}
    options = {"checkpoint_every": 2, **schedule}
    if first == "fit":
        for seed, folder in folders.items():
            alone(line, POINTS, seed, steps=4, folder=folder, **options)
        runs = many(line, POINTS, steps=7, folder=tmp_path, resume=True, **options)
        for seed, run in runs.items():
            assert_same(run, *single[seed])
        return
    many(line, POINTS, steps=4, folder=tmp_path, **options)
    for seed, folder in folders.items():
        history, resumed = alone(line, POINTS, seed, steps=7, folder=folder, resume=True, **options)
        torch.testing.assert_close(resumed, single[seed][1], rtol=1e-4, atol=1e-5)
        assert len(history) == len(single[seed][0])


def test_a_folder_has_what_fit_writes(tmp_path):
    many(line, POINTS, steps=4, checkpoint_every=2, folder=tmp_path / "many")
    alone(line, POINTS, 8, steps=4, checkpoint_every=2, folder=tmp_path / "one")
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in (tmp_path / "many" / "seed-8").iterdir()} == names
    one, copy = (load_checkpoint(tmp_path / f) for f in ("one", "many/seed-8"))
    assert torch.equal(one["random"]["cpu"], copy["random"]["cpu"])
    # The memory of the other copies is not written with it.
    loc = copy["objective"]["model.loc"]
    assert loc.untyped_storage().nbytes() == loc.numel() * 4


def test_after_a_kill_between_two_checkpoints_all_go_on_from_the_one_before(tmp_path):
    many(line, POINTS, steps=4, checkpoint_every=2, folder=tmp_path)
    ahead = tmp_path / "seed-3"
    (ahead / "checkpoint.ckpt").replace(ahead / "checkpoint-previous.ckpt")
    alone(line, POINTS, 3, steps=6, checkpoint_every=6, folder=ahead, resume=True)
    runs = many(line, POINTS, steps=8, folder=tmp_path, resume=True)
    for seed, run in runs.items():
        assert_same(run, *alone(line, POINTS, seed, steps=8))


def test_a_copy_that_is_not_finite_is_taken_out_and_the_others_stay(tmp_path, caplog):
    data = {seed: POINTS.clone() for seed in (3, 0, 8)}
    clean = many(line, data, steps=9, folder=tmp_path / "clean")
    order = torch.randperm(12, generator=torch.Generator().manual_seed(8 * 1_000_003))
    data[8][order[4]] = float("nan")  # the first of its second batch
    runs = many(line, data, steps=9, checkpoint_every=1, folder=tmp_path / "nan")
    assert "'log_likelihood' is nan at step 2" in str(runs[8].error)
    assert "seed 8 is taken out" in caplog.text
    assert [row["step"] for row in runs[8].history.rows] == [1]
    assert load_checkpoint(tmp_path / "nan" / "seed-8")["step"] == 1
    for seed in (3, 0):
        assert runs[seed].error is None
        assert runs[seed].history.rows == clean[seed].history.rows
        expected = state(clean[seed].model, clean[seed].guide)
        torch.testing.assert_close(
            state(runs[seed].model, runs[seed].guide), expected, rtol=0, atol=0
        )


def test_draws_from_parameters_that_are_not_finite_do_not_stop_the_others():
    data = {seed: COUNTS.clone() for seed in (3, 0, 8)}
    settings = {"steps": 6, "log_every": 6, "drop_last": True}
    clean = many(counts, data, **settings)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    data[0][order[4]] = float("nan")
    runs = many(counts, data, **settings)
    assert "at step 2" in str(runs[0].error)
    assert runs[3].history.rows == clean[3].history.rows


def test_a_callback_ends_its_copy_alone():
    seen = {}

    def callbacks(seed):
        seen[seed] = []
        stop = [EarlyStopping(patience=1, min_delta=1e9)] if seed == 0 else []
        return [*stop, lambda event: seen[seed].append((event.kind, event.step))]

    runs = many(line, POINTS, steps=6, callbacks=callbacks)
    assert {seed: run.steps for seed, run in runs.items()} == {3: 6, 0: 2, 8: 6}
    assert seen[0][-1] == ("end", 2)
    assert seen[3][-1] == ("end", 6)
    assert ("epoch", 3) in seen[8]
    assert_same(runs[0], *alone(line, POINTS, 0, steps=2))
    assert_same(runs[8], *alone(line, POINTS, 8, steps=6))


def test_what_a_callback_draws_is_drawn_in_its_own_training_too():
    draw = [lambda event: torch.rand(3)]
    runs = many(
        line,
        POINTS,
        steps=4,
        callbacks=lambda seed: draw,
        prepare=lambda x: x + torch.randn(len(x), 1),
    )
    other = alone(
        line, POINTS, 8, steps=4, callbacks=draw, prepare=lambda x: x + torch.randn(len(x), 1)
    )
    assert_same(runs[8], *other)


def test_the_callers_random_state_and_memory_are_its_own():
    before = torch.get_rng_state()
    runs = many(line, POINTS, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    for run in runs.values():
        assert run.model.loc.untyped_storage().nbytes() == run.model.loc.numel() * 4


def test_bfloat16_is_near_its_own_training():
    settings = {"steps": 2, "precision": "bf16-mixed"}
    make = mivae("mean", 1.0)
    run = many(make, X, seeds=[4, 5], **settings)[4]
    history, _ = alone(make, X, 4, **settings)
    exact, _ = alone(make, X, 4, steps=2)
    row, other = run.history.rows[-1], history.rows[-1]
    assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert row["loss"] != pytest.approx(exact.rows[-1]["loss"], rel=1e-7)


@pytest.mark.slow
def test_compiled_copies_are_their_own_trainings():
    runs = many(mixture, POINTS, steps=3, seeds=(3, 0), compile=True)
    for seed, run in runs.items():
        assert_same(run, *alone(mixture, POINTS, seed, steps=3))


def test_an_interrupted_training_goes_on(tmp_path):
    import os
    import signal

    from pyro_mivae.training import Interrupted

    def stop(event):
        if event.kind == "log" and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after step 3"):
        many(line, POINTS, steps=6, folder=tmp_path, callbacks=lambda seed: [stop][: seed == 8])
    runs = many(line, POINTS, steps=6, folder=tmp_path, resume=True)
    assert_same(runs[8], *alone(line, POINTS, 8, steps=6))


def test_defaults_are_those_of_fit():
    import inspect

    single, stacked = (inspect.signature(f).parameters for f in (fit, fit_many))
    for name in stacked.keys() & single.keys() - {"callbacks"}:
        assert stacked[name].default == single[name].default, name
    assert QUIET.keys() <= stacked.keys()
