"""experiments.infogan_seeds and .generator: rows, report and figures from files; refusals."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.generator import program as generator
from experiments.generator.measurements import tellings
from experiments.infogan_seeds import figures
from experiments.infogan_seeds.program import stages
from experiments.infogan_seeds.report import of_forms, of_seeds, read_rows, sentences, write_report
from experiments.infogan_seeds.trainings import FORMS
from pyro_mivae import runs
from pyro_mivae.runs import groups

QUALITY = {
    **{"alignment": 0.25, "amount": 0.5, "frechet": 20.0, "frechet_floor": 2.5, "rarest": 0.05},
    **{"unmeasured": 0.0, "certainty": 0.9, "reader_accuracy": 0.97},
}
ROW = {"thickness": 0.1, "slant": 0.2, "width": 0.3, "label": 0.4}


def measured(thickness, **quality):
    """What a measurement leaves of two codes; the first tells so much of thickness."""
    codes = {"c[0]": {**ROW, "thickness": thickness}, "c[1]": {**ROW, "slant": 2 * thickness}}
    within = {
        code: {factor: 2 * value for factor, value in row.items()} for code, row in codes.items()
    }
    return {"information": codes, "within": within, "generator": {**QUALITY, **quality}}


def make(folder, name, metrics, **channels):
    """A finished run's folder, and that of its measurement."""
    for part in (name, f"generator-{name}"):
        (folder / part).mkdir(parents=True)
    settings = {"training": {"steps": 7}}
    runs.write_config(folder / name, settings, {"name": "mnist"})
    runs.write_json(folder / name / runs.METRICS, {"seconds": {"training": 60.0}, **metrics})
    runs.write_json(folder / f"generator-{name}" / "generator.json", {"channels": channels})


@pytest.fixture
def study(tmp_path):
    """Two seeds of InfoGAN and one VAE, whose drawn pixels tell less."""
    for seed, thickness in enumerate((0.4, 0.8)):
        codes = measured(thickness, rarest=0.05 - 0.045 * seed)
        codes["information"]["d"] = {**ROW, "label": 1.5}
        codes["within"]["d"] = ROW
        codes["categories"] = {"accuracy": 0.5 + 0.2 * seed}
        make(tmp_path, f"infogan-seed{seed}", {"test": {"mi/c": -0.5, "mi/d": 2.25}}, mean=codes)
    both = {"mean": measured(1.0), "sample": measured(0.125)}
    make(tmp_path, "vae-seed0", {"test": {"elbo": -100.0}}, **both)
    return tmp_path


def test_rows_have_each_run_and_channel(study):
    rows = read_rows(study, 5)
    assert [(r["form"], r["seed"], r["channel"]) for r in rows] == [
        *[("infogan", 0, "mean"), ("infogan", 1, "mean")],
        *[("vae", 0, "mean"), ("vae", 0, "sample")],
    ]
    assert rows[1]["c[0]/thickness"] == 0.8
    assert rows[1]["c[1]/slant"] == 1.6
    assert rows[1]["class_accuracy"] == 0.7
    assert rows[1]["mi/d"] == 2.25
    assert rows[1]["c[1]/slant/within"] == 3.2
    assert rows[3]["c[0]/thickness"] == 0.125
    assert "class_accuracy" not in rows[2]


def test_the_report_has_means_with_their_range(study):
    rows = read_rows(study, 5)
    lines = of_forms(rows).splitlines()
    # The code that carries most about a factor stands for it: thickness c[0], slant c[1].
    assert "| InfoGAN's form, λ = 1 | 2 | 60 (50 to 70) | 0.60 (0.40 to 0.80) |" in lines[4]
    assert "| 1.20 (0.80 to 1.60) | 2.40 (1.60 to 3.20) | 0.25 (0.25 to 0.25) | 1.50" in lines[4]
    assert "VAE of the main job, drawn pixels | 1 | - | 0.12" in lines[6]
    assert "| vae (drawn) | 0 | c[1] | 0.10 | 0.25 | 0.30 | 0.40 |" in of_seeds(rows)
    said = " ".join(sentences(rows))
    assert "class accuracy 60 (50 to 70) %" in said
    assert "Images that can't stand for digits: infogan seed 1." in said
    docs = study / "docs"
    docs.mkdir()
    assert write_report(study, 5, docs) == rows
    for name in ("infogan.csv", "infogan.md"):
        assert (docs / "results" / name).read_bytes() == (study / name).read_bytes()


def test_a_damaged_run_is_named_and_left_out(study, capsys):
    (study / "generator-infogan-seed0" / "generator.json").write_text("{")
    make(study, "weight0-seed0", {"test": {}}, mean={})
    assert [row["seed"] for row in read_rows(study, 5) if row["form"] == "infogan"] == [1]
    said = capsys.readouterr().err
    assert "infogan-seed0" in said
    assert "weight0-seed0" in said


def test_figures_show_every_run_and_every_seeds_images(study, tmp_path):
    figure = figures.numbers(read_rows(study, 5))
    accuracy = figure.axes[0].lines[0]
    assert list(accuracy.get_xdata()) == [0.5, 0.7]
    assert figures.traversals(FORMS[0], study, 5) is None
    images = np.random.default_rng(0).random((2, 9, 10, 28, 28))
    dims = ("code", "quantile", "category", "height", "width")
    tree = groups.make_tree({"traversal": groups.make_group({"x_mean": (dims, images)})}, {})
    groups.write(tree, study / "infogan-seed1" / groups.FILE)
    sheets = figures.traversals(FORMS[0], study, 5)
    assert [axes.get_title() for axes in sheets.axes] == [
        f"seed 1: $c_{{{k}}}$ moves" for k in (0, 1)
    ]
    shown = sheets.axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown[28:56, 56:84], images[1, 1, 2])
    figure.savefig(tmp_path / "numbers.png")
    assert imread(tmp_path / "numbers.png").std() > 0.01


def test_the_runs_are_of_all_forms_and_seeds(tmp_path):
    trainings, measurements = stages(list(FORMS), tmp_path, 5, "full")
    assert len(trainings) == len({run.name for run in trainings}) == 30
    assert [run.name for run in measurements] == [f"generator-{run.name}" for run in trainings]
    assert [run.arguments[1:] for run in measurements[4:6]] == [
        *[("--channels", "mean"), ("--channels", "mean", "sample")],
    ]
    assert trainings[6].arguments[-4:] == ("--seed", "1", "--data", "mnist")


def test_a_run_that_can_not_be_measured(tmp_path, capsys, monkeypatch):
    def error(*arguments):
        assert generator.main(list(arguments)) == 1
        return capsys.readouterr().err

    assert "name the folder of a run" in error()
    assert "no-run" in error(str(tmp_path / "no-run"))
    with monkeypatch.context() as patch:
        early = SimpleNamespace(finished=False, step=5)
        patch.setattr(generator.runs, "load", lambda folder, **_: early)
        assert "is not finished (step 5): finish it first" in error(str(tmp_path))
    (tmp_path / "done" / "generator").mkdir(parents=True)
    (tmp_path / "done" / "generator" / "generator.json").write_text("{}")
    assert "holds results: choose another --out" in error(str(tmp_path / "done"))
    assert (tmp_path / "done" / "generator" / "generator.json").read_text() == "{}"


def test_words_name_the_factor_that_a_code_tells_most_of():
    rows = measured(0.9)["information"] | {"d": ROW}
    assert tellings(rows) == [
        "Code c[0] carries most about the thickness: 0.90 nats.",
        "Code c[1] carries most about the slant: 1.80 nats.",
    ]


def test_sentences_of_both_channels_say_which_to_trust():
    both = {"mean": measured(1.0), "sample": measured(0.125)}
    lines = generator.sentences(both)
    assert lines[-1].startswith(
        "The code that carries most about thickness carries 1.00 nats in the means of x', and 0.12"
    )
    bad = {"mean": measured(1.0, unmeasured=0.5)}
    assert generator.sentences(bad)[-1].startswith("Trust none of these")
    assert json.dumps(both)  # plain values
