"""Checkpoints that are damaged, foreign, or of another training; nothing loads in silence."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.runs.files import atomic_path, remove_leftovers
from pyro_mivae.training import fit
from pyro_mivae.training.checkpoints import (
    DAMAGED,
    NAME,
    PREVIOUS,
    CheckpointError,
    load_checkpoint,
)

X = torch.linspace(-2.0, 3.0, 25)


class Model(nn.Module):
    def __init__(self, width=1):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z + self.shift.sum(), 1.0), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.gain * x, 0.7))


def train(folder, model=None, data=X, elbo=None, **settings):
    pair = model or Model(), Guide()
    settings = {"steps": 6, "batch_size": 10, "checkpoint_every": 2, **settings}
    elbo = elbo or TraceMI_ELBO(channel="sample", mi_weight=0.5)
    history = fit(*pair, elbo, data, folder=folder, device="cpu", progress=False, **settings)
    return pair, history


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_no_flipped_bit_loads(tmp_path, caplog):
    train(tmp_path, steps=2)
    path = tmp_path / NAME
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 101), *range(-110, 0)]:
        flip(path, place)
        with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
            load_checkpoint(tmp_path)
        path.write_bytes(whole)
    assert load_checkpoint(tmp_path)["step"] == 2


@pytest.mark.parametrize("content", ["flipped", "torn", "empty", "foreign"])
def test_the_previous_checkpoint_is_taken_with_a_warning_and_kept(tmp_path, caplog, content):
    expected, _ = train(None, steps=8)
    train(tmp_path)
    path = tmp_path / NAME
    if content == "flipped":
        flip(path, 400)
    elif content == "foreign":
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(path.read_bytes()[: -100 if content == "torn" else 0])
    again, _ = train(tmp_path, steps=8, resume=True)
    assert f"the previous checkpoint {tmp_path / PREVIOUS}, of step 4, is taken" in caplog.text
    for one, other in zip(expected, again, strict=True):
        assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert (tmp_path / DAMAGED).exists()
    assert load_checkpoint(tmp_path)["step"] == 8


def test_two_bad_checkpoints_say_what_to_do(tmp_path):
    train(tmp_path)
    for name in (NAME, PREVIOUS):
        flip(tmp_path / name, 400)
    words = rf"{NAME} .*checksum.*{PREVIOUS} .*No good checkpoint.*backup, or train anew"
    with pytest.raises(CheckpointError, match=words):
        train(tmp_path, resume=True)


def test_checkpoints_of_earlier_versions_load(tmp_path):
    train(tmp_path, steps=2)
    state = load_checkpoint(tmp_path)
    path = tmp_path / NAME
    torch.save({name: value for name, value in state.items() if name != "record"}, path)
    with zipfile.ZipFile(path) as archive:
        assert not archive.comment
        member = next(i for i in archive.infolist() if i.filename.endswith("data.pkl"))
    assert load_checkpoint(tmp_path)["step"] == 2
    train(tmp_path, resume=True)
    torch.save(state, path)
    flip(path, member.header_offset + 200)
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(CheckpointError, match=r"can't be read as a checkpoint \("):
        load_checkpoint(tmp_path)


def test_what_is_no_checkpoint_of_fit_is_named(tmp_path):
    torch.save(Model().state_dict(), tmp_path / NAME)
    with pytest.raises(CheckpointError, match=r"expected the entries objective.*found shift; "):
        train(tmp_path, resume=True)
    torch.save([1, 2], tmp_path / NAME)
    with pytest.raises(CheckpointError, match="expected a dict, found list"):
        train(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["objective"].pop("model.shift"), r"'model.shift': expected .*found none"),
        (lambda s: s.update(objective=3), "expected the parameters of model and guide"),
        (lambda s: s.update(stored={"a": torch.ones(2)}), "'a': expected none, found shape"),
        (lambda s: s.update(optimizer={}), "expected groups of parameters, found none"),
        (
            lambda s: s["optimizer"]["model"]["param_groups"][0]["params"].pop(),
            r"expected groups of \[2\]",
        ),
        (lambda s: s.update(pending=[3]), "can't be taken by this training"),
        (lambda s: s.update(random={}), "can't be taken by this training"),
        (lambda s: s.update(elbo={}), "can't be taken by this training"),
    ],
)
def test_incomplete_and_edited_checkpoints(tmp_path, change, words):
    train(tmp_path, steps=2)
    state = load_checkpoint(tmp_path)
    change(state)
    torch.save(state, tmp_path / NAME)
    with pytest.raises(CheckpointError, match=words):
        train(tmp_path, resume=True)


def test_another_model_changes_nothing_and_is_named(tmp_path):
    train(tmp_path)
    other = Model(width=3)
    before = other.shift.detach().clone()
    words = r"another model.*'model.shift': expected shape \(3,\), found shape \(1,\)"
    with pytest.raises(CheckpointError, match=words):
        train(tmp_path, other, resume=True)
    assert torch.equal(other.shift, before)


def test_another_optimiser_is_named(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError, match="another optimiser"):
        train(tmp_path, resume=True, optimizer=lambda p: torch.optim.SGD(p, lr=1e-3))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"mi_weight": 1.0}, "mi_weight of the loss: 0.5 there, 1.0 now"),
        (
            {"mi_weight": lambda step: 0.5 if step < 50 else 0.25},
            "mi_weight of the loss: 0.5 there",
        ),
        ({"mi_weight": {"z": 0.5}}, "mi_weight of the loss: 0.5 there, {'z': 0.5} now"),
        ({"kl_weight": 2.0}, "kl_weight of the loss: 1.0 there, 2.0 now"),
        ({"channel": "mean"}, "channel of the loss: sample there, mean now"),
        ({"code_scale": 1.0}, "code_scale of the loss: None there, 1.0 now"),
        ({"num_dual_particles": 2}, "num_dual_particles of the loss: 1.0 there, 2.0 now"),
        ({"num_dual_samples": 2}, "num_dual_samples of the loss: 1.0 there, 2.0 now"),
        ({"baseline": False}, "baseline of the loss: True there, False now"),
        ({"elbo": Trace_ELBO()}, "base of the loss: TraceMeanField_ELBO there, Trace_ELBO now"),
    ],
)
def test_another_loss_is_named(tmp_path, other, words):
    train(tmp_path)
    elbo = TraceMI_ELBO(**{"channel": "sample", "mi_weight": 0.5, **other})
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(CheckpointError, match=re.escape(words)):
        train(tmp_path, elbo=elbo, resume=True, steps=8)
    assert (tmp_path / NAME).read_bytes() == before


def test_the_same_loss_goes_on_whatever_its_values_are_written_as(tmp_path):
    def ours(mi_weight):
        weights = {"mi_weight": mi_weight, "codes": ["z"], "observed": ()}
        return TraceMI_ELBO(channel="sample", **weights)

    train(tmp_path, elbo=ours({"z": 1}))
    train(tmp_path, elbo=ours({"z": torch.tensor(1.0)}), resume=True, steps=8)
    train(tmp_path / "other", elbo=ours(lambda step: 1 / (1 + step)))
    train(tmp_path / "other", elbo=ours(lambda step: 1 / (step + 1)), resume=True, steps=8)
    for folder in (tmp_path, tmp_path / "other"):
        assert load_checkpoint(folder)["step"] == 8


def test_nothing_is_written_to_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no such folder"))
    (tmp_path / "run").mkdir()
    train(tmp_path / "run", steps=2)
    assert load_checkpoint(tmp_path / "run")["step"] == 2


def test_leftovers_of_killed_writes_are_removed(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pyro_mivae.runs.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / NAME)]
    assert subprocess.run(command, env=os.environ).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".mine.tmp").write_text("")
    with atomic_path(tmp_path / "a") as living:
        assert [re.sub("-.*", "", p.name)[:17] for p in remove_leftovers(tmp_path)] == [f".{NAME}."]
        assert living.exists()
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", "a"]


def test_numbers_of_numpy_do_not_make_a_checkpoint_unreadable(tmp_path):
    def add(event):
        if event.kind == "log":
            event.history.add(event.step, event.epoch, "validation", {"score": np.float64(0.5)})

    settings = {"log_every": 3, "callbacks": [add]}
    settings["optimizer"] = lambda parameters: torch.optim.SGD(parameters, lr=np.float32(0.125))
    train(tmp_path, steps=4, **settings, batch_size=np.int64(10))
    _, history = train(tmp_path, resume=True, **settings, batch_size=np.int64(10))
    assert [row["score"] for row in history.rows if row["split"] == "validation"] == [0.5] * 2
