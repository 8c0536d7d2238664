"""The arms of the open question: models, data, measurements, and the programs that leave them."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from simulated import simulated
from torch import nn

from experiments.open_question.design.arms import ARMS, CODE_DIM, build
from experiments.open_question.design.datasets import (
    LABEL,
    SPRITES,
    STROKES,
    factor_set_of,
    study_data,
)
from experiments.open_question.jobs import alignment
from experiments.open_question.jobs import arm_data as _arm_data
from experiments.open_question.jobs import train_arm as _arms
from experiments.open_question.jobs.arm_data import load, measure
from pyro_mivae.datasets import Split, load_digits
from pyro_mivae.distributions import posterior_mean
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.priors import make_prior
from pyro_mivae.training import NonFiniteError
from pyro_mivae.vae import MIVAE

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits():
    """Few of the 5,000: all of a split are measured."""
    whole = load_digits("mnist-5k")
    parts = {n: Split(s.images[:90], s.labels[:90]) for n, s in _splits(whole).items()}
    return dataclasses.replace(whole, **parts)


def _splits(digits):
    return {name: getattr(digits, name) for name in ("train", "validation", "test")}


@pytest.fixture
def small(digits, cache, monkeypatch):
    monkeypatch.setattr(_arm_data, "load_digits", lambda name, data_dir: digits)
    return lambda name: load(name, pool=60, test=40, digits="mnist-5k", cache_dir=cache)


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_its_sites_and_a_mean_of_its_guide(arm):
    """The mean that codes are, against the mean of many draws."""
    vae = build(arm, hidden=(16,), seed=0)
    assert set(vae.priors) == {"c", "z"} | ({"d"} if arm.startswith("I") else set())
    assert vae.priors["c"].dim == CODE_DIM
    torch.manual_seed(1)
    family = vae.guide.posteriors["c"]
    q = family(1.5 * torch.randn(5, family.num_raw))
    draws = q.sample((20_000,))
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - posterior_mean(q)).abs() < 5 * error).all()


@pytest.mark.parametrize(("arm", "summed"), [("I", True), ("IN", True), ("T", False)])
def test_a_category_is_summed_out_in_training(small, monkeypatch, arm, summed):
    seen = {}
    monkeypatch.setattr(_arms, "fit", lambda model, guide, elbo, *_, **__: seen.update(elbo=elbo))
    config = _arms.Config(arm=arm, data="D3", train=20, hidden=(8,), compile=False)
    list(_arms._by_turns(config, small("D3"), [0]))
    assert isinstance(seen["elbo"].base, TraceEnum_ELBO) == summed


def test_arms_with_as_many_raw_numbers_start_from_the_same_weights():
    states = [build(arm, hidden=(16,), seed=3).state_dict() for arm in ("G", "P", "T")]
    for name in states[0]:
        if "layers" in name:
            assert torch.equal(states[0][name], states[1][name])
            assert torch.equal(states[0][name], states[2][name])
    other = build("G", hidden=(16,), seed=4).state_dict()
    assert not torch.equal(
        states[0]["guide.encoder.layers.0.weight"], other["guide.encoder.layers.0.weight"]
    )


# --- data --------------------------------------------------------------------------------------


def test_data_sets_share_their_digits_and_seeds_take_the_same(small, digits, cache):
    three, four = small("D3"), small("D4")
    assert np.array_equal(three.factors[LABEL], four.factors[LABEL])
    assert np.array_equal(three.rows(5, 20), four.rows(5, 20))
    assert not np.array_equal(three.rows(5, 20), three.rows(6, 20))
    assert len(set(three.rows(5, 60))) == 60
    with pytest.raises(ValueError, match="--train: expected at most the 60 images of --pool"):
        three.rows(0, 61)
    assert set(three.set_measured) == {"thickness", "slant"}
    assert min(three.set_measured.values()) > 0.9
    # The set value, not the measured one.
    made = study_data("D3", num_train=60, num_test=40, digits=digits, cache_dir=cache)
    assert np.array_equal(three.factors["thickness"], made.test.factors["thickness"].values)


def test_distance_to_the_laws_is_the_worse_of_training_and_test(small):
    data = small("D3")
    rows = data.rows(0, 50)
    plain = data.distance(rows)
    assert set(plain) == {"thickness", "slant"}
    # Images from one end of the law, on either side.
    thickness = data.pool_factors["thickness"]
    thin = np.argsort(thickness)[:20]
    law = data.laws["thickness"]
    assert data.distance(thin)["thickness"] >= 1 - law.cdf(thickness[thin].max()) - 1e-9
    assert data.distance(thin)["slant"] <= 1.0
    worse = {**data.factors, "slant": data.factors["slant"] + 1.0}
    moved = dataclasses.replace(data, factors=worse)
    assert moved.distance(rows)["slant"] > 0.8 > plain["slant"]


def test_real_digits_have_measured_factors_and_no_law(small):
    data = small("D0")
    assert set(data.factors) == {"thickness", "slant", "width", LABEL}
    assert data.set_measured == data.distance(np.arange(5)) == {}
    assert (data.unmeasured, len(data.test)) == (0, 40)


def test_an_image_that_cannot_be_measured_is_left_out_and_counted(small, monkeypatch):
    def broken(name, **settings):
        made = study_data(name, **settings)
        made.test.factors["thickness"].values[3] = np.nan
        return made

    monkeypatch.setattr(_arm_data, "study_data", broken)
    data = small("D0")
    assert (data.unmeasured, len(data.test), len(data.factors[LABEL])) == (1, 39, 39)


def test_sprites_are_measured_by_their_moments(small):
    data = small("D6a")
    assert data.factor_set is SPRITES
    found = measure(data.test / 255, SPRITES)
    assert found.shape == (40, 3)
    for column, name in zip(found.T, SPRITES.moved, strict=True):
        known = study_data("D6a", num_train=60, num_test=40).test.factors[name].values
        assert np.abs(column - known).max() < 0.1
    assert np.isnan(measure(torch.zeros(1, 28, 28), SPRITES)).all()
    assert data.source["checksum"] is None


def test_what_is_measured_of_each_data_set():
    assert factor_set_of("D5") is STROKES
    assert factor_set_of("D1-control").factors == ("thickness", "slant", "width")
    assert factor_set_of("D6b").pair == ("scale", "x")


# --- measurements ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "uniform", "laplace", "bimodal", "rotated"])
def test_distance_of_the_aggregate_posterior(name):
    torch.manual_seed(0)
    prior = make_prior(name, 2)
    draws = prior().sample((4000,))
    # 1 % critical value of Kolmogorov's distance.
    assert max(alignment.aggregate_distance(draws, prior)) < 1.63 / math.sqrt(4000)
    half = draws[draws[:, 0] > 0]  # the upper half: the distance is 1/2
    assert alignment.aggregate_distance(half, prior)[0] == pytest.approx(0.5, abs=0.02)
    assert alignment.aggregate_distance(torch.full((10, 2), 50.0), prior)[0] > 0.99


def planted(first, second):
    """Codes that carry two factors, 2,000 points, and a noise that carries nothing."""
    rng = np.random.default_rng(0)
    factors = {"thickness": rng.random(2000), "slant": rng.normal(size=2000)}
    factors["label"] = rng.integers(0, 3, 2000).astype(float)
    made = [first(factors, rng), second(factors, rng)]
    c = torch.from_numpy(np.stack(made, 1))
    z = torch.from_numpy(rng.normal(size=(2000, 1)))
    encoded = alignment.Encoded({"c": c, "z": z}, {}, None)
    known = alignment.Factors.of(factors, ("thickness", "slant"), "label")
    return alignment.information(encoded, known)


def test_information_of_an_aligned_code():
    found = planted(
        lambda f, rng: f["thickness"] + 0.02 * rng.normal(size=2000), lambda f, rng: f["slant"]
    )
    assert found["codes"] == ["c[0]", "c[1]", "z[0]"]
    assert found["I_S"] == pytest.approx(math.log(20), abs=0.1)
    assert 1.5 < found["I_T"] < found["I_S"]
    assert found["share_T"] == pytest.approx(found["I_T"] / (found["I_T"] + found["I_S"]), abs=0.01)
    assert (found["leading"], found["leading_top"]) == (1, "slant")
    assert found["top"] == ["thickness", "slant"]
    assert found["num_live"] == 2
    assert found["dci_d"] > 0.95 < found["modularity"]
    assert found["modularity_pair"] > 0.95
    assert found["mig"] < found["mig_ceiling"] == pytest.approx(1.0, abs=0.05)


def test_information_of_a_turned_code_and_of_none():
    turned = planted(
        lambda f, rng: f["thickness"] * 3.46 + f["slant"],
        lambda f, rng: f["thickness"] * 3.46 - f["slant"],
    )
    assert turned["dci_d"] < 0.1
    assert turned["modularity_pair"] < 0.3
    none = planted(*[lambda f, rng: np.zeros(2000)] * 2)
    assert (none["leading"], none["leading_top"], none["top"]) == (-1, "", ["", ""])
    assert none["I_T"] == none["num_live"] == none["mig"] == none["modularity"] == 0
    assert math.isnan(none["share_T"])


def test_what_a_category_tells():
    categories = torch.tensor([7, 7, 2, 2, 7, 2])
    encoded = alignment.Encoded({}, {}, categories)
    found = alignment.category(encoded, np.array([0.0, 0, 1, 1, 0, 1]))
    assert found == {"mi_category_label": pytest.approx(math.log(2)), "accuracy": 1.0}
    assert alignment.category(alignment.Encoded({}, {}, None), np.zeros(3)) == {}


class Rows(nn.Module):
    """A decoder whose upper half is as bright as c[0], its lower half as z[0]."""

    def forward(self, latent):
        c, z = latent[..., 0], latent[..., 2]
        image = torch.stack([c, z], -1)[..., None, None].expand(*c.shape, 2, 14, 28)
        return image.reshape(*c.shape, 28, 28)


def test_traversals_move_one_code_and_hold_the_rest():
    vae = MIVAE(code_dim=2, noise_dim=4, prior="uniform", decoder=Rows(), encoder="mlp")

    def halves(images):
        return np.stack([images[:, :14].mean((1, 2)), images[:, 14:].mean((1, 2))], 1)

    numbers, arrays = alignment.generator(
        vae, halves, names=["upper", "lower"], scale=np.ones(2), number=5
    )
    assert arrays["images"].shape == (2, 3, 9, 28, 28)
    slope = np.array(numbers["slope"])
    # A standard deviation of the code is one of the decoder's input: sigmoid's slope is below 1/4.
    assert 0.15 < slope[0, 0] < 0.25
    assert np.abs(slope[[0, 1, 1], [1, 0, 1]]).max() < 1e-6
    assert numbers["exclusivity"][0][0] == pytest.approx(1.0)
    assert arrays["values"][0].tolist() == pytest.approx(np.linspace(-0.9, 0.9, 9).tolist())
    moved = torch.from_numpy(arrays["measured"][0, :, :, 0])  # the same in all traversals
    unit = arrays["values"][0] * math.sqrt(3)
    assert moved[0].numpy() == pytest.approx(1 / (1 + np.exp(-unit)), abs=1e-6)
    assert torch.allclose(moved[0], moved[1])


# --- the program -------------------------------------------------------------------------------

TINY = ("--smoke", "--num-seeds", "3")
BY_TURNS = (*TINY, "--no-together")
"""A seed at a time: the numbers of those that are left do not depend on how many these are."""


def numbers_of(folder):
    """All files of seeds, without what differs from run to run."""
    found = {}
    for path in sorted(folder.glob("seed*.json")):
        content = json.loads(path.read_text())
        del content["seconds"]
        found[path.name] = content
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("arms") / "whole"
    assert _arms.main([*BY_TURNS, "--cache-dir", str(cache), "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_seeds_that_are_trained_as_one_have_the_numbers_of_each_by_itself(whole, tmp_path, cache):
    assert _arms.main([*TINY, "--cache-dir", str(cache), "--out", str(tmp_path)]) == 0
    together, alone = numbers_of(tmp_path), numbers_of(whole)
    assert list(together) == list(alone)
    for name, found in together.items():
        assert found["terms"] == pytest.approx(alone[name]["terms"], rel=1e-4, abs=1e-4)
        assert found["checks"]["posterior_ks"] == pytest.approx(
            alone[name]["checks"]["posterior_ks"], abs=0.02
        )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"]["together"] is True


def test_a_seed_that_turns_nan_is_named_and_the_others_are_kept(small, monkeypatch, caplog):
    made = []

    def elbo_of(config, vae, elbo=None):
        made.append(vae)
        weight = 1e38 if len(made) == 2 else 1.0  # of the second seed: its loss is infinite
        return TraceMI_ELBO(channel="mean", codes=vae.codes, mi_weight=weight)

    monkeypatch.setattr(_arms, "_elbo", elbo_of)
    config = _arms.Config(train=20, hidden=(8,), epochs=2, batch_size=10, compile=False)
    trained = _arms._train(config, small("D3"), [0, 1, 2])
    kept = {seed: vae for seed, vae, _ in (next(trained), next(trained))}
    assert list(kept) == [0, 2]
    assert all(p.isfinite().all() for vae in kept.values() for p in vae.parameters())
    with pytest.raises(NonFiniteError):
        next(trained)
    assert "the copy of seed 1 is taken out" in caplog.text


@pytest.mark.slow
def test_what_a_seed_leaves(whole):
    found = numbers_of(whole)
    assert list(found) == ["seed0.json", "seed1.json", "seed2.json"]
    assert found["seed0.json"] != found["seed1.json"]
    first = found["seed0.json"]
    assert first["terms"]["elbo"] == pytest.approx(
        first["terms"]["log_likelihood"] - first["terms"]["kl"]
    )
    assert set(first["checks"]["factor_ks"]) == {"thickness", "slant"}
    config = json.loads((whole / "config.json").read_text())
    assert config["settings"]["arm"] == "T"
    assert config["data"]["name"] == "D3"
    with np.load(whole / "seed2.npz") as arrays:
        assert arrays["images"].dtype == np.uint8
        assert set(arrays) == {"images", "measured", "values"}
    assert json.loads((whole / "metrics.json").read_text())["seeds"] == [0, 1, 2]


@pytest.mark.slow
def test_the_simulated_files_of_the_report_are_like_a_real_one(whole):
    real, made = json.loads((whole / "seed0.json").read_text()), simulated(0)
    assert real.keys() == made.keys()
    for part in real:
        if isinstance(real[part], dict):
            assert real[part].keys() == made[part].keys(), part
    assert real["alignment"]["factors"] == made["alignment"]["factors"]
    assert real["generator"]["measured"] == made["generator"]["measured"]


@pytest.mark.slow
def test_a_run_that_was_killed_between_two_seeds_goes_on(whole, tmp_path, cache):
    folder = tmp_path / "run"
    flags = [*BY_TURNS, "--cache-dir", str(cache), "--out", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.open_question.jobs.train_arm", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    deadline = time.monotonic() + 120
    while not (folder / "seed0.json").exists():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("seed*.json")}
    assert not (folder / "metrics.json").exists()
    assert len(before) < 3
    assert _arms.main(flags) == 0
    after = {name: (folder / name).stat().st_mtime_ns for name in before}
    assert after == before
    assert numbers_of(folder) == numbers_of(whole)


@pytest.mark.slow
def test_a_run_that_was_stopped_within_a_seed_leaves_no_part_of_it(
    whole, tmp_path, cache, monkeypatch
):
    folder = tmp_path / "run"
    flags = [*BY_TURNS, "--cache-dir", str(cache), "--out", str(folder)]
    measured, calls = _arms.ArmEvaluator.measure, []

    def stops(self, vae, **settings):
        calls.append(settings["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(self, vae, **settings)

    monkeypatch.setattr(_arms.ArmEvaluator, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        _arms.main(flags)
    assert {p.name for p in folder.glob("seed*")} == {"seed0.json", "seed0.npz"}
    assert _arms.main(flags) == 0
    assert calls == [0, 1, 1, 2]
    assert numbers_of(folder) == numbers_of(whole)


@pytest.mark.slow
def test_other_settings_are_not_mixed_into_a_folder(whole, cache, capsys):
    flags = ["--smoke", "--num-seeds", "4", "--cache-dir", str(cache), "--out", str(whole)]
    assert _arms.main(flags) == 1
    assert "--num-seeds is 4, but the run in" in capsys.readouterr().err


def test_no_seeds_only_draw_the_data(tmp_path, capsys):
    flags = ["--smoke", "--data", "D4", "--num-seeds", "0", "--out", str(tmp_path)]
    assert _arms.main(flags) == 0
    assert list((tmp_path / "cache").glob("reinked-*.npz"))
    assert json.loads((tmp_path / "metrics.json").read_text())["seeds"] == []
    assert not list(tmp_path.glob("seed*"))


def test_infogans_form_and_a_category(tmp_path):
    flags = ["--arm", "I", "--data", "D6a", "--code-scale", "1", "--smoke", "--num-seeds", "1"]
    assert _arms.main([*flags, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "seed0.json").read_text())
    assert 0 < found["category"]["accuracy"] <= 1
    # At most log 2 - log sqrt(2 pi) for each of two uniform codes.
    assert found["terms"]["fixed_scale/c"] < 2 * (math.log(2) - 0.5 * math.log(2 * math.pi))
    assert found["alignment"]["factors"] == ["scale", "x", "angle", "y", "label"]
    assert found["checks"]["set_measured"] == {}
