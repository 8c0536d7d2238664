"""The InfoGAN program: its settings, figures and, in slow tests, whole runs."""

import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from experiments.generator.measurements import doubt
from experiments.infogan import figures, program
from experiments.infogan.config import SETTINGS, Config, Model, Objective, Output, Training, settled
from experiments.infogan.draws import QUANTILES, SAMPLES, draw
from experiments.infogan.measurements import sentences
from pyro_mivae import runs
from pyro_mivae.gan import InfoGAN
from pyro_mivae.information import generator_information, train_reader
from pyro_mivae.runs.history import History
from pyro_mivae.training.checkpoints import load_checkpoint


def fake_strokes(images):
    """Factors in no time: ink, its place, and its spread."""
    ink = images.astype(np.float64).mean((1, 2))
    return {"thickness": ink, "slant": images.mean((1,)).argmax(1) * 1.0, "width": ink + 1}


@pytest.fixture(scope="module")
def measured(digits, tmp_path_factory):
    torch.manual_seed(0)
    gan = InfoGAN()
    images, labels = digits.train.images[:300], digits.train.labels[:300]
    folder = tmp_path_factory.mktemp("reader")
    reader = train_reader(
        *(images, labels, images, labels), measure=fake_strokes, steps=5, cache_dir=folder
    )
    settings = {"channel": "mean", "codes": gan.codes, "num_draws": 100, "num_moved": 10}
    result = generator_information(gan.model, torch.zeros(50, 28, 28), reader=reader, **settings)
    return gan, reader, result


def test_what_is_left_out_depends_on_the_rest():
    small = settled(Config())
    assert (small.model.noise_dim, small.training.steps, small.training.batch_size) == (4, 2500, 32)
    assert small.objective.mi_weight == 1.0
    paper = settled(Config(Model(networks="paper"), Objective(code_scale=None)))
    assert (paper.model.noise_dim, paper.training.steps, paper.training.batch_size) == (
        *(62, 5000, 128),
    )
    assert paper.training.reader_learning_rate == 2e-4
    assert paper.objective.mi_weight == 0.1
    own = settled(Config(training=Training(steps=7), output=Output(smoke=True)))
    assert (own.training.steps, own.data.data, own.output.draws) == (7, "mnist-5k", 200)


def test_draws_have_every_code_quantile_and_category(measured):
    tree = draw(*measured, {})
    assert tree["prior_predictive"]["x_mean"].shape == (1, SAMPLES, 28, 28)
    traversal = tree["traversal"].to_dataset()
    assert dict(traversal.sizes) == {
        **{"code": 2, "quantile": len(QUANTILES), "category": 10},
        **{"height": 28, "width": 28},
    }
    # In the middle both codes are where they are in the other's traversal.
    middle = traversal["x_mean"].sel(quantile=0.5).values
    np.testing.assert_allclose(middle[0], middle[1])
    assert not np.allclose(traversal["x_mean"][0, 0], traversal["x_mean"][0, -1])
    share = tree["categories"]["share"].values.sum(1)
    assert set(np.round(share, 9)) <= {0.0, 1.0}
    assert tree["response"]["thickness"].shape == (2, len(QUANTILES))


@pytest.mark.slow
def test_figures_are_drawn_from_files_alone(measured, tmp_path):
    tree = draw(*measured, {})
    runs.groups.write(tree, tmp_path / runs.groups.FILE)
    names = ("discriminator", "generator", "discriminator/real", "discriminator/generated", "mi/c")
    rows = [
        {"step": s, "epoch": 0.1, "split": "train", **dict.fromkeys(names, 0.1 * s)}
        for s in (1, 2, 3)
    ]
    History(rows).write_csv(tmp_path / runs.HISTORY)
    paths = figures.redraw(tmp_path)
    assert set(paths) == {
        *("training", "samples", "responses", "traversal_c0", "traversal_c1", "categories"),
    }
    for path in paths.values():
        assert imread(path).std() > 0.01


def test_the_last_lines_say_what_to_trust():
    metrics = {
        "generator": {"frechet": 61.0, "frechet_floor": 3.0, "rarest": 0.05, "unmeasured": 0.0},
        "information": {"c[0]": {"thickness": 1.5, "slant": 0.2}, "d": {"label": 1.9}},
        "categories": {"accuracy": 0.8},
        "test": {"mi/c": -0.5},
    }
    text = " ".join(sentences(metrics))
    for words in (
        "category is 80.0 %",
        "c[0] carries most about the thickness: 1.50 nats",
        "Trust",
    ):
        assert words in text
    assert doubt(metrics["generator"]) == ""
    assert "leaves digits out" in doubt(metrics["generator"] | {"rarest": 0.001})
    assert "no strokes" in doubt(metrics["generator"] | {"unmeasured": 0.2})


@pytest.mark.slow
def test_a_run_leaves_its_files_and_loads(tmp_path, capsys):
    folder = tmp_path / "run"
    assert program.main(["--smoke", "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "Trust these numbers" in out or "warning: " in err  # 30 steps may leave digits out
    assert "next: another seed" in out
    metrics = json.loads((folder / runs.METRICS).read_text())
    assert set(metrics) >= {"test", "generator", "information", "categories", "seconds"}
    run = runs.load(folder)
    assert run.finished
    assert run.module.num_categories == 10
    terms = run.elbo.terms(run.model, run.guide, run.prepare(run.data.test.images[:32]))
    assert terms["mi"].isfinite()


@pytest.mark.slow
def test_resumed_equals_uninterrupted(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert program.main(["--smoke", "--steps", "12", "--out", str(whole)]) == 0
    assert program.main(["--smoke", "--steps", "6", "--out", str(parts)]) == 0
    assert program.main(["--resume", str(parts), "--steps", "12"]) == 0
    one, other = load_checkpoint(whole), load_checkpoint(parts)
    assert one["objective"].keys() == other["objective"].keys()
    for name, value in one["objective"].items():
        assert torch.equal(value, other["objective"][name]), name
    first, second = (json.loads((f / runs.METRICS).read_text()) for f in (whole, parts))
    assert first["generator"] == pytest.approx(second["generator"], nan_ok=True)


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ([], []),
        (["--prior", "laplace", "--code-scale", "None", "--seed", "3"], None),
        (["--networks", "paper", "--no-shared-trunk", "--steps", "70"], None),
        (["--mi-weight", "1.0"], []),  # what it is without the flag
    ],
)
def test_another_seed_of_a_run_has_its_settings(given, flags):
    config = SETTINGS.parse_run(given)[0]
    said = SETTINGS.flags(config)
    assert flags is None or said == flags
    again = SETTINGS.parse_run([*said, "--seed", str(config.training.seed)])[0]
    assert again == config
