"""A run's folder as model, guide, ELBO and data."""

import json
import logging
import pickle
import shutil

import pytest
import torch

from pyro_mivae import runs
from pyro_mivae.datasets import Digits, Split
from pyro_mivae.training import CheckpointError, evaluate, fit, rebuilding
from pyro_mivae.vae import MIVAE

IMAGES = (torch.arange(8 * 28 * 28).reshape(8, 28, 28) % 255).to(torch.uint8)
SPLIT = Split(IMAGES, torch.arange(8))
DIGITS = Digits("mnist-5k", "a" * 64, "Made for a test.", SPLIT, SPLIT, SPLIT)
SETTINGS = {
    "model": {
        "prior": "uniform",
        "posterior": None,
        "noise_prior": "gaussian",
        "code_dim": 1,
        "noise_dim": 1,
        "likelihood": "bernoulli",
        "networks": "mlp",
        "init_gain": 1.0,
    },
    "objective": {
        "channel": "straight-through",
        "mi_weight": 1.0,
        "mi_warmup": 4,
        "kl_weight": 1.0,
        "code_scale": None,
    },
    "data": {"data": "auto", "data_dir": "/etc"},
    "training": {"seed": 3, "init_seed": None, "steps": 2, "learning_rate": 0.001},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder as experiments.mnist leaves it, of two steps; with what was trained."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    data = {"name": "mnist-5k", "checksum": DIGITS.checksum}
    runs.write_config(folder, SETTINGS, data)
    vae, elbo = rebuilding.build_pair(SETTINGS)
    settings = {"steps": 2, "batch_size": 4, "log_every": 1, "device": "cpu", "progress": False}
    pair = vae.model, rebuilding.trained_guide(vae), elbo
    fit(*pair, IMAGES, prepare=vae.observe, folder=folder, **settings)
    test = {"elbo": -500.25, "mi/c/sample": 0.125}
    runs.write_json(folder / runs.METRICS, {"test": test})
    return folder, pair


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the folder, to spoil."""
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture
def digits(monkeypatch):
    """What is asked of load_digits, which gives a small data set."""
    calls = []

    def load_digits(*args, **kwargs):
        calls.append((args, kwargs))
        return DIGITS

    monkeypatch.setattr(rebuilding, "load_digits", load_digits)
    return calls


def test_a_finished_run_is_back_as_it_was(finished, digits, caplog):
    folder, pair = finished
    before = torch.get_rng_state()
    run = runs.load(str(folder))
    assert torch.equal(torch.get_rng_state(), before)
    assert not caplog.records
    assert run.finished
    assert run.step == 2
    assert run.elbo.weights() == pair[2].weights() == (0.5, 1.0)
    assert [row["step"] for row in run.history.rows] == [1, 2]
    again = evaluate(run.model, run.guide, run.elbo, run.data.test.images, prepare=run.prepare)
    assert again == evaluate(*pair, IMAGES, prepare=run.prepare)
    assert repr(run) == (
        f"run in {folder}: 2 steps, finished\n"
        "  prior uniform, channel straight-through, lambda 1.0, seed 3\n"
        "  on the test images ELBO -500.25, I(c; x') at least 0.12 nats per datum"
    )


def test_data_are_read_once_and_no_path_of_the_file_is_followed(finished, digits, tmp_path):
    run = runs.load(finished[0])
    assert not digits
    assert run.data is run.data
    assert digits == [(("mnist-5k",), {"data_dir": None})]
    assert runs.load(finished[0], data_dir=tmp_path).data.name == "mnist-5k"
    assert digits[1][1] == {"data_dir": tmp_path}


def test_a_run_that_is_not_finished_is_its_last_checkpoint(folder, caplog):
    (folder / runs.METRICS).unlink()
    with caplog.at_level(logging.WARNING):
        run = runs.load(folder)
    assert not run.finished
    assert "not finished: this is its last checkpoint, of step 2 of 2" in caplog.text
    assert "not finished, of 2 steps" in repr(run)


def test_a_category_is_summed_out_as_in_the_training():
    model = {**SETTINGS["model"], "prior": "infogan", "code_dim": None}
    vae, elbo = rebuilding.build_pair({**SETTINGS, "model": model})
    assert vae.codes == ("c", "d")
    assert vae.priors["c"].dim == 2
    assert rebuilding.trained_guide(vae).infer["d"] == {"enumerate": "parallel"}
    assert type(elbo.base).__name__ == "TraceEnum_ELBO"


def test_hidden_layers_are_as_the_settings_say_and_older_runs_have_the_posters():
    sizes = {"hidden_units": 7, "hidden_layers": 3}
    vae, _ = rebuilding.build_pair({**SETTINGS, "model": {**SETTINGS["model"], **sizes}})
    for network in (vae.guide.encoder, vae.model.decoder):
        linear = [layer for layer in network.layers if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in linear[:-1]] == [7, 7, 7]
    usual, _ = rebuilding.build_pair(SETTINGS)
    torch.manual_seed(SETTINGS["training"]["seed"])
    plain = MIVAE(code_dim=1, noise_dim=1, prior=SETTINGS["model"]["prior"])
    assert all(map(torch.equal, usual.parameters(), plain.parameters()))


def change(folder, group, **values):
    config = json.loads((folder / runs.CONFIG).read_text())
    config["settings"][group] |= values
    (folder / runs.CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        ("model", {"prior": "os.system"}, "unknown prior 'os.system': expected one of"),
        ("model", {"prior": ["uniform"]}, r"model, prior: expected a name, found \['uniform'\]"),
        ("model", {"code_dim": 10**9}, "code_dim: expected 1 to 4096, found 1000000000"),
        ("model", {"noise_dim": -1}, "noise_dim: expected 0 to 4096, found -1"),
        ("model", {"hidden_units": 10**9}, "hidden_units: expected 1 to 4096, found 1000000000"),
        ("model", {"hidden_layers": 0}, "hidden_layers: expected 1 to 16, found 0"),
        ("model", {"networks": "conv", "hidden_units": 9}, "leave them out with 'conv'"),
        ("model", {"noise_dim": True}, "expected a whole number, found True"),
        ("model", {"networks": "exec"}, "unknown encoder 'exec'"),
        ("model", {"likelihood": "x"}, "unknown likelihood 'x'"),
        ("model", {"init_gain": float("inf")}, "init_gain: expected a number, found inf"),
        ("model", {"import": "os"}, "unknown setting 'import' in model: expected prior, "),
        ("objective", {"channel": "x"}, "unknown channel 'x'"),
        ("objective", {"mi_weight": -1.0}, r"mi_weight \(lambda\) must be a finite number >= 0"),
        ("objective", {"mi_warmup": -1}, "mi_warmup: expected 0 or a number of steps, found -1"),
        ("training", {"seed": 2**70}, "config.json: .*verflow"),
    ],
)
def test_settings_are_checked_and_named(folder, group, values, words):
    change(folder, group, **values)
    with pytest.raises(ValueError, match=words) as error:
        runs.load(folder)
    assert "config.json" in str(error.value)
    assert "take back the file that the run has written" in str(error.value)


def test_settings_of_another_model_are_no_match(folder):
    change(folder, "model", code_dim=2)
    with pytest.raises(CheckpointError, match="checkpoint is of another model or guide"):
        runs.load(folder)


def test_folders_that_are_no_run(folder, tmp_path, digits):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        runs.load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="name one of the runs in it, run"):
        runs.load(tmp_path)
    checkpoint = folder / "checkpoint.ckpt"
    config = (folder / runs.CONFIG).read_text()
    (folder / runs.CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match="build the pair, and call fit"):
        runs.load(folder)
    (folder / runs.CONFIG).write_text(
        json.dumps({"settings": {"arm": "T", "model": {}}, "data": {}})
    )
    with pytest.raises(ValueError, match="objective, data, training are missing"):
        runs.load(folder)
    (folder / runs.CONFIG).write_text(config)
    (folder / runs.METRICS).write_text("[1")
    with pytest.raises(ValueError, match=r"metrics\.json can't be read .* delete it"):
        runs.load(folder)
    (folder / runs.METRICS).unlink()
    state = torch.load(checkpoint, weights_only=True)
    for spoilt, words in (({"elbo": {}}, "'step'"), ({"history": [3]}, "'int'")):
        torch.save({**state, **spoilt}, checkpoint)
        with pytest.raises(CheckpointError, match=f"of another training .*{words}"):
            runs.load(folder)
    for path in folder.glob("*.ckpt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        runs.load(folder)


def test_nothing_in_a_folder_is_executed(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    for path in folder.glob("*.ckpt"):
        path.write_bytes(pickle.dumps({"objective": Bomb()}))
    with pytest.raises(CheckpointError):
        runs.load(folder)
    torch.save({"objective": Bomb()}, folder / "checkpoint.ckpt")
    with pytest.raises(CheckpointError):
        runs.load(folder)
    assert not (tmp_path / "harm").exists()


def test_other_data_are_refused(folder, digits):
    config = json.loads((folder / runs.CONFIG).read_text())
    for record, words in (
        (
            {"name": "mnist-5k", "checksum": "b" * 64},
            r"was on mnist-5k \(bbbbbbbbbbbb\), but",
        ),
        ({"name": "../secrets"}, "expected the data mnist or mnist-5k, found '../secrets'"),
        ({}, "expected the data mnist or mnist-5k, found None"),
    ):
        (folder / runs.CONFIG).write_text(json.dumps({**config, "data": record}))
        run = runs.load(folder)
        with pytest.raises(ValueError, match=words):
            _ = run.data
    (folder / runs.CONFIG).write_text(json.dumps({**config, "data": None}))
    with pytest.raises(ValueError, match="expected an object 'data', found NoneType"):
        runs.load(folder)


def test_measurements_of_another_step_are_left_out(folder, caplog):
    """Its last checkpoint is damaged, say: the numbers are not those of what is loaded."""
    runs.write_json(folder / runs.METRICS, {"test": {"elbo": -1.0}, "step": 4})
    with caplog.at_level(logging.WARNING):
        run = runs.load(folder)
    assert not run.finished
    assert run.metrics is None
    assert "was measured at step 4, and its last good checkpoint is of step 2" in caplog.text
    runs.write_json(folder / runs.METRICS, {"test": {"elbo": -1.0}, "step": 2})
    assert runs.load(folder).finished


def test_measurements_are_set_aside_under_the_step_that_they_are_of(folder):
    (folder / "figures").mkdir()
    (folder / "posterior.nc").write_text("draws")
    before = json.loads((folder / runs.METRICS).read_text())
    aside = runs.set_measurements_aside(folder, 2)
    assert aside == folder / "measured-at-2"
    assert {path.name for path in aside.iterdir()} == {"metrics.json", "posterior.nc", "figures"}
    assert json.loads((aside / runs.METRICS).read_text()) == before
    assert not runs.load(folder).finished
    assert runs.set_measurements_aside(folder, 2) is None
    runs.write_json(folder / runs.METRICS, {"step": 7})
    assert runs.set_measurements_aside(folder, 8) == folder / "measured-at-7"
