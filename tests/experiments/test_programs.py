"""Every program has --smoke; the main job, and what is computed of its runs, as a user calls it."""

import csv
import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import torch

from experiments.factors import program as factors
from experiments.factors.fitted_laws import factor_law
from experiments.information import program as information
from experiments.mnist import program as mnist
from experiments.open_question.jobs import measure_codes as _codes
from pyro_mivae.datasets import load_digits
from pyro_mivae.morphometry import UNITS, measure
from pyro_mivae.plotting import redraw

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py"))
FIGURES = {
    "training_curves",
    "reconstructions",
    "prior_samples",
    "traversals",
    "information_bars",
    "dimension_use",
    "pairwise_information",
    "codes_by_class",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_starts_and_has_a_smoke(name, monkeypatch, capsys):
    """As `python -m` starts it, in this process; `test_smoke.py` runs it."""
    monkeypatch.setattr(sys, "argv", [f"experiments.{name}", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    assert end.value.code == 0
    assert "--smoke" in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_run_leaves_behind(smoke):
    names = {path.name for path in smoke.iterdir()}
    assert names >= {
        "config.json",
        "history.csv",
        "checkpoint.ckpt",
        "metrics.json",
        "posterior.nc",
        "figures",
    }
    assert {path.stem for path in (smoke / "figures").glob("*.png")} == FIGURES
    config = json.loads((smoke / "config.json").read_text())
    assert config["settings"]["model"]["prior"] == "uniform"
    assert config["data"]["name"] == "mnist-5k"
    assert len(config["data"]["checksum"]) == 64
    with (smoke / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "validation"}
    last = next(row for row in reversed(rows) if row["split"] == "validation")
    for column in (
        "log_likelihood",
        "kl/c",
        "kl/z",
        "mi/c/mean",
        "mi/c/sample",
        "mi/z/mean",
        "mi/z/sample",
        "mi",
        "mi/c",
        "loss",
    ):
        float(last[column])
    assert last["mi/c"] == last["mi/c/sample"]
    assert all(row["mi/c"] and not row["mi/c/sample"] for row in rows if row["split"] == "train")


@pytest.mark.slow
def test_metrics_add_up(smoke):
    metrics = json.loads((smoke / "metrics.json").read_text())
    test = metrics["test"]
    assert test["elbo"] == pytest.approx(test["log_likelihood"] - test["kl"])
    for site in ("c", "z"):
        measured = metrics["per_dimension"][site]
        assert len(measured["kl"]) == 5
        # Analytic for the noise; for the code's sampled KL within sampling error.
        assert sum(measured["kl"]) == pytest.approx(test[f"kl/{site}"], rel=1e-3, abs=0.02)
        for channel in ("mean", "sample"):
            total = sum(measured[f"mi/{channel}"])
            assert total == pytest.approx(test[f"mi/{site}/{channel}"], abs=0.2)
    assert metrics["kl_estimators"] == {"c": "sampled", "z": "analytic"}
    assert metrics["log_evidence"]["num_images"] == 20
    assert metrics["steps"]["computed"] == "eager"
    assert "500 steps" in metrics["steps"]["because"]


@pytest.mark.slow
def test_draws_are_read_by_arviz_and_figures_redrawn_from_the_folder_alone(smoke):
    data = az.from_netcdf(smoke / "posterior.nc")
    names = data.children if hasattr(data, "children") else data.groups()
    assert {"posterior", "prior", "observed_data", "sample_stats"} <= set(names)
    assert float(abs(data.posterior["c"]).max()) < 1.0
    before = {p.name: p.read_bytes() for p in (smoke / "figures").glob("*.png")}
    for path in (smoke / "figures").glob("*.png"):
        path.unlink()
    redraw(smoke)
    assert {p.name: p.read_bytes() for p in (smoke / "figures").glob("*.png")} == before


@pytest.fixture(scope="module")
def infogan(tmp_path_factory, without_rendering):
    """A run with a category; tests/plotting/test_plotting.py draws its figures."""
    folder = tmp_path_factory.mktemp("runs") / "infogan"
    flags = ["--smoke", "--steps", "20", "--prior", "infogan", "--noise-dim", "3"]
    with without_rendering():
        assert mnist.main([*flags, "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_a_run_with_a_category(infogan):
    assert json.loads((infogan / "config.json").read_text())["settings"]["model"]["code_dim"] == 2
    metrics = json.loads((infogan / "metrics.json").read_text())
    found = metrics["categories"]
    assert 0.1 <= found["accuracy"] <= 1
    assert sorted(found["classes"]) == list(range(10))
    assert sum(found["shares"]) == pytest.approx(1)
    test = metrics["test"]
    assert test["kl"] == pytest.approx(sum(test[f"kl/{site}"] for site in "czd"))
    bound = test["mi/c/sample"] + test["mi/d/sample"]
    assert test["loss"] == pytest.approx(-test["elbo"] - bound)
    assert metrics["per_dimension"]["d"]["kl"] == pytest.approx(test["kl/d"], rel=1e-3, abs=1e-4)
    assert metrics["kl_estimators"] == {"c": "sampled", "z": "analytic", "d": "analytic"}
    assert metrics["not_measured"] == {}
    pictures = {path.stem for path in (infogan / "figures").glob("*.png")}
    assert pictures == FIGURES | {"categories", "categories_by_class"}
    data = az.from_netcdf(infogan / "posterior.nc")
    assert data.posterior["d"].sizes["d_dim"] == 10
    with (infogan / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["mi/d"] for row in rows if row["split"] == "train")


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered")
def test_a_run_with_a_category_goes_on_and_prints_its_accuracy(infogan, capsys):
    assert mnist.main(["--resume", str(infogan), "--steps", "25"]) == 0
    table = capsys.readouterr().out
    accuracy = json.loads((infogan / "metrics.json").read_text())["categories"]["accuracy"]
    assert f"{100 * accuracy:.1f} %" in table
    assert "class accuracy of the category" in table
    assert "KL of the category d" in table


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered")
def test_information_of_a_run_with_a_category(infogan, tmp_path):
    out = tmp_path / "information"
    assert information.main([str(infogan), "--smoke", "--out", str(out)]) == 0
    curves = json.loads((out / "information.json").read_text())["curves"]
    assert curves["coords"]["codes"] == ["c", "z", "d", "c, z, d"]


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    ("flags", "estimator"),
    [
        (["--prior", "rotated", "--posterior", "beta", "--code-scale", "1"], "analytic"),
        (["--prior", "bimodal", "--posterior", "full-normal", "--noise-dim", "0"], "sampled"),
    ],
)
def test_other_arms(flags, estimator, tmp_path, capsys):
    folder = tmp_path / "run"
    assert mnist.main(["--smoke", "--steps", "20", *flags, "--out", str(folder)]) == 0
    metrics, table = json.loads((folder / "metrics.json").read_text()), capsys.readouterr().out
    assert metrics["kl_estimators"]["c"] == estimator
    test = metrics["test"]
    if "rotated" in flags:
        assert "marginals that are not known" in metrics["not_measured"]["mi_c"]
        assert set(metrics["per_dimension"]["c"]) >= {"activity", "resampling_loss"}
        assert "c was not measured by dimension" in table
    else:
        assert "mi/sample" in metrics["per_dimension"]["c"]
        assert "pairwise_mi" in metrics["not_measured"]
    assert test["loss"] == pytest.approx(-test["elbo"] - test["mi"])
    assert test["mi"] == test["mi/c"]
    assert (test["mi/c"] != test["mi/c/sample"]) == ("--code-scale" in flags)
    assert ("score of standard deviation 1" in table) == ("--code-scale" in flags)


@pytest.mark.slow
def test_information_of_a_run(smoke, tmp_path, capsys):
    out = tmp_path / "information"
    flags = [str(smoke), "--smoke", "--out", str(out)]
    assert information.main(flags) == 0
    assert {path.name for path in out.iterdir()} == {
        "information.json",
        "information.nc",
        "figures",
    }
    assert (out / "figures" / "information_curves.png").stat().st_size > 10_000
    numbers = json.loads((out / "information.json").read_text())
    curves, parts = numbers["curves"], numbers["decomposition"]
    assert curves["coords"]["codes"] == ["c", "z", "c, z"]
    assert curves["coords"]["guide"] == ["own", "refitted"]
    for low, high in zip(curves["lower"], curves["upper"], strict=True):
        assert all(a[-1] < b[-1] for a, b in zip(low, high, strict=True))
    assert parts["kl"]["mean"] == pytest.approx(
        parts["information"]["mean"] + parts["marginal_kl"]["mean"]
    )
    assert numbers["log_evidence"]["num_images"] == 10
    assert logging.getLogger("pyro_mivae.information").level == logging.NOTSET
    before = (out / "information.json").read_bytes()
    capsys.readouterr()
    assert information.main(flags) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "information.json").read_bytes() == before
    assert information.main([*flags, "--overwrite", "--refit-steps", "0"]) == 0
    numbers = json.loads((out / "information.json").read_text())
    assert numbers["curves"]["coords"]["guide"] == ["own"]


@pytest.mark.slow
def test_what_the_codes_of_a_run_tell(smoke, tmp_path, capsys):
    out = tmp_path / "codes"
    assert _codes.main([str(smoke), "--smoke", "--out", str(out)]) == 0
    numbers = json.loads((out / "metrics.json").read_text())
    found = numbers["alignment"]
    assert found["factors"] == ["thickness", "slant", "width", "label"]
    assert found["codes"] == [f"{site}[{d}]" for site in "cz" for d in range(5)]
    assert np.shape(found["mi"]) == (10, 4)
    assert np.shape(numbers["cross_checks"]["ksg"]) == (5, 4)
    assert np.shape(numbers["cross_checks"]["within"]) == (5, 3)
    assert numbers["cross_checks"]["within_factors"] == ["thickness", "slant", "width"]
    assert numbers["settings"]["model"]["prior"] == "uniform"
    # The bound of the code alone, as the run itself measured it, of other draws.
    test = json.loads((smoke / "metrics.json").read_text())["test"]
    assert numbers["terms"]["mi/c"] == pytest.approx(test["mi/c/sample"], abs=0.1)
    with np.load(out / "traversals.npz") as arrays:
        assert arrays["images"].shape == (5, 3, 9, 28, 28)
        assert arrays["measured"].shape == (5, 3, 9, 3)
    assert _codes.main([str(tmp_path), "--out", str(out)]) == 1
    assert "is not a run" in capsys.readouterr().err


def test_information_needs_a_run(tmp_path, capsys):
    assert information.main([str(tmp_path)]) == 1
    assert "is not a run" in capsys.readouterr().err
    assert information.main([]) == 1
    assert "name the folder of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_factors_of_the_digits(tmp_path, capsys):
    assert factors.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert "500 digits of mnist-5k, of which 0 could not be measured" in capsys.readouterr().out
    with (tmp_path / "factors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 11
    by_name = {(row["factor"], row["label"]): row for row in rows}
    measured = measure(load_digits("mnist-5k").test.images)
    for name, values in measured.items():
        row = by_name[name, "all"]
        assert (row["count"], row["units"], row["data"]) == ("500", UNITS[name], "mnist-5k")
        assert float(row["mean"]) == pytest.approx(float(values.mean()), rel=1e-5)
        distance = factor_law(values).fits["normal"].distance
        assert float(row["ks_normal"]) == pytest.approx(distance, rel=1e-5)
        assert 0.0 < float(row["pixel_share"]) < 0.3
        assert by_name[name, "7"]["count"] == "50"
        assert by_name[name, "7"]["pixel_share"] == ""
    assert (tmp_path / "factors.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_folder_in_use_is_refused(smoke, capsys):
    before = (smoke / "checkpoint.ckpt").read_bytes()
    assert mnist.main(["--smoke", "--out", str(smoke)]) == 1
    assert "--resume" in capsys.readouterr().err
    assert (smoke / "checkpoint.ckpt").read_bytes() == before


@pytest.mark.slow
def test_resume_refuses_other_settings(smoke, capsys):
    assert mnist.main(["--resume", str(smoke), "--mi-weight", "3"]) == 1
    assert "--mi-weight would change" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered")
def test_resume_trains_on_and_equals_one_long_run(smoke, tmp_path):
    flags = ["--smoke", "--prior", "uniform"]
    assert mnist.main([*flags, "--steps", "20", "--out", str(tmp_path / "short")]) == 0
    assert mnist.main(["--resume", str(tmp_path / "short"), "--steps", "40"]) == 0
    short, long = (
        torch.load(folder / "checkpoint.ckpt", weights_only=True)
        for folder in (tmp_path / "short", smoke)
    )
    assert short["step"] == long["step"] == 40
    assert all(
        torch.equal(short["objective"][name], long["objective"][name]) for name in long["objective"]
    )


def test_bad_flags_say_what_to_do(capsys, tmp_path):
    out = ["--out", str(tmp_path / "new")]
    assert mnist.main(["--posterior", "normal", "--prior", "uniform", *out]) == 1
    assert "expected one of logit-normal, beta" in capsys.readouterr().err
    assert mnist.main(["--prior", "rotated", "--code-dim", "3", *out]) == 1
    assert "dim must be even" in capsys.readouterr().err
    assert mnist.main(["--prior", "infogan", "--kl-weight", "2", *out]) == 1
    assert "kl_weight must be 1 with TraceEnum_ELBO" in capsys.readouterr().err
    assert mnist.main(["--code-scale", "0", *out]) == 1
    assert "--code-scale must be a finite number, above 0, found 0.0" in capsys.readouterr().err
    assert mnist.main(["--mi-weight", "-1", "--smoke", *out]) == 1
    assert "--mi-weight must be a finite number, at least 0, found -1.0" in capsys.readouterr().err
    assert mnist.main(["--resume", str(tmp_path)]) == 1
    assert "is not a run" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.mnist", "--data", "mnist-5k"]
    process = subprocess.Popen(
        [*command, "--steps", "100000", "--out", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (folder / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"--resume {folder}" in out
    assert (folder / "checkpoint.ckpt").exists()


@pytest.mark.slow
def test_resume_refuses_fewer_steps_and_leaves_the_settings(smoke, capsys):
    before = (smoke / "config.json").read_bytes()
    assert mnist.main(["--resume", str(smoke), "--steps", "20"]) == 1
    assert "--steps 20 are fewer than the 40" in capsys.readouterr().err
    assert (smoke / "config.json").read_bytes() == before


@pytest.mark.slow
def test_a_run_that_is_training_is_named_by_its_owner(smoke, capsys):
    lock = smoke / ".training.lock"
    lock.write_text("elsewhere/boot 7 token noon")
    try:
        for flags in (["--resume", str(smoke)], ["--smoke", "--overwrite", "--out", str(smoke)]):
            assert mnist.main(flags) == 1
            assert "process 7 on elsewhere, since noon" in capsys.readouterr().err
    finally:
        lock.unlink()
    assert (smoke / "metrics.json").exists()
