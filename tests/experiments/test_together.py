"""A sweep that trains the seeds of a combination as one."""

import json

import pytest

from experiments.mnist import program as mnist
from experiments.sweep import program as sweep
from experiments.sweep import together
from experiments.sweep.config import Config
from pyro_mivae import runs
from pyro_mivae.training import load_checkpoint


def todo(**settings):
    chosen = {"mi_weights": (0.0, 1.0), "priors": ("gaussian",), **settings}
    return sweep.make_runs(Config(**chosen), ["--steps", "30"])


def test_runs_that_differ_in_their_seed_are_one_training(tmp_path):
    first, second = together.groups(todo(seeds=(0, 2)), tmp_path)
    assert first.training().name == "together-gaussian-straight-through-lambda0-seeds0-2"
    assert first.training().arguments[:3] == (
        *("--seeds", "0,2"),
        "gaussian-straight-through-lambda0",
    )
    assert [*second.runs] == [0, 2]


def test_done_runs_and_single_seeds_are_left_out(tmp_path):
    done = tmp_path / "gaussian-straight-through-lambda1-seed2"
    done.mkdir()
    (done / runs.METRICS).write_text("{}")
    groups = together.groups(todo(seeds=(0, 2)), tmp_path)
    assert [group.combination for group in groups] == ["gaussian-straight-through-lambda0"]
    assert together.groups(todo(seeds=(0,)), tmp_path) == []


class Engine:
    """Ends each training with the status of its combination."""

    def __init__(self, **status):
        self.status = status

    def run(self, todo, folder, what):
        from experiments.runner.run import Outcome

        return [
            Outcome(run.name, self.status[run.name.split("lambda")[1][0]], folder / "log")
            for run in todo
        ]


def test_runs_whose_training_failed_are_not_started(tmp_path):
    runs_, bad = together.train(Engine(**{"0": "failed", "1": "done"}), todo(), tmp_path)
    assert {run.name.split("-")[3] for run in runs_} == {"lambda1"}
    assert [outcome.status for outcome in bad] == ["failed"]


def test_nothing_is_started_after_a_stop(tmp_path):
    runs_, outcomes = together.train(Engine(**{"0": "stopped", "1": "done"}), todo(), tmp_path)
    assert runs_ == []
    assert [outcome.status for outcome in outcomes] == ["stopped", "done"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--devices", "2"], "one device"), (["--prior", "infogan"], "TraceEnum_ELBO reads values")],
)
def test_what_can_not_be_trained_together_says_so(flags, words, tmp_path, capsys):
    arguments = ["--seeds", "0,1", "runs", *flags, "--smoke", "--out", str(tmp_path / "together")]
    assert together.main(arguments) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs-seed0").exists()


@pytest.mark.slow
def test_a_run_goes_on_where_its_training_together_has_ended(tmp_path, unrendered):
    out = ["--out", str(tmp_path / "together")]
    flags = ["--prior", "gaussian", "--likelihood", "grey", "--smoke"]
    assert together.main(["--seeds", "0,3", "runs", *flags, *out]) == 0
    assert (tmp_path / "together" / together.RESULT).exists()
    folder = tmp_path / "runs-seed3"
    assert load_checkpoint(folder)["step"] == 40
    noted = json.loads((folder / mnist.TOGETHER).read_text())
    assert noted["seeds"] == [0, 3]
    assert mnist.main(["--resume", str(folder)]) == 0
    seconds = json.loads((folder / runs.METRICS).read_text())["seconds"]
    assert seconds["total"] > seconds["training"] > noted["seconds_per_seed"]
    alone = tmp_path / "alone"
    assert mnist.main([*flags, "--seed", "3", "--out", str(alone)]) == 0
    rows, single = (runs.History.read_csv(f / runs.HISTORY).rows for f in (folder, alone))
    assert [row["step"] for row in rows] == [row["step"] for row in single] == [20, 20, 40, 40]
    for row, other in zip(rows, single, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
