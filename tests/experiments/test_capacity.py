"""The map of where the noise is ignored: its runs, its table, its report."""

import json

import pytest

from experiments.capacity import program
from experiments.capacity.figures import SMALL, noise_map
from experiments.capacity.report import sentences, tables
from experiments.capacity.rows import ROWS, TABLE
from experiments.capacity.trainings import (
    FEWEST,
    LONG,
    MAP,
    PARTS,
    WEIGHTS,
    WITHOUT,
    Model,
    Training,
    blocks,
    least,
    training_of,
)
from experiments.mnist.config import parse
from experiments.poster.trainings import EPOCHS_5, EPOCHS_25
from experiments.runner.engine import Engine
from experiments.runner.run import Outcome

EVERY = list(dict.fromkeys(model for models in MAP.values() for model in models))
RUNS = sum(len(models) for models in PARTS.values()) - len(WEIGHTS)
"""Runs of one seed: the poster's networks are in two parts."""


def metrics_of(kl):
    """What experiments.mnist leaves of a run whose noise has this KL."""
    test = {"kl/c": 20.0, "kl/z": kl, "mi/c/mean": 25.0, "mi/z/mean": kl, "elbo": -110.0}
    dimensions = {"c": {"kl": [1.0, 2.0]}, "z": {"kl": [kl, 0.01]}, "pairwise": {}}
    return {"test": test, "per_dimension": dimensions, "seconds": {"training": 9.0}}


def finish(folder, training, kl):
    own = folder / training.name
    own.mkdir(parents=True)
    (own / "metrics.json").write_text(json.dumps(metrics_of(kl)))
    return own


def kl_of(model):
    """Falls with the dimensions of the code, with the width, and with lambda."""
    if model.mi_weight == 0:
        return 9.0
    return 4000.0 / model.code_dim / model.hidden_units / model.mi_weight + model.noise_dim / 100


def rows_of(tmp_path, trainings):
    table = tmp_path / "rows.csv"
    ROWS.add(table, [finish(tmp_path, t, kl_of(t.model)) for t in trainings])
    return ROWS.read(table)


def test_a_run_has_the_sizes_of_its_model():
    model = Model(20, 5, hidden_units=1000, hidden_layers=3, mi_weight=2.0)
    settings = parse(list(Training(model, 1).run().arguments))
    assert (settings.model.code_dim, settings.model.noise_dim) == (20, 5)
    assert (settings.model.hidden_units, settings.model.hidden_layers) == (1000, 3)
    assert (settings.objective.channel, settings.objective.mi_weight) == ("mean", 2.0)
    assert (settings.model.prior, settings.model.likelihood) == ("gaussian", "grey")
    assert (settings.training.steps, settings.training.seed) == (EPOCHS_5, 1)
    assert settings.data.data == "mnist"


def test_the_map_has_every_size_once_and_the_posters_networks_in_both_parts():
    assert {name: len(models) for name, models in MAP.items()} == {"sizes": 18, "networks": 24}
    assert set(MAP["sizes"]) & set(MAP["networks"]) == {Model(mi_weight=w) for w in WEIGHTS}
    names = [Training(model, seed).name for model in EVERY for seed in range(2)]
    assert len(set(names)) == len(names) == 80


def test_a_folders_name_is_the_training(tmp_path):
    training = Training(Model(50, 2, 2000, 1, 2.0), 1, EPOCHS_25)
    (row,) = rows_of(tmp_path, [training])
    assert training_of(row) == training
    assert (row["used/c"], row["used/z"]) == (2, 0)


def test_a_row_of_other_settings_is_refused(tmp_path):
    rows_of(tmp_path, [Training(Model(), 0)])
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text().replace(",500,", ",501,"))
    with pytest.raises(ValueError, match=r"expected the run 10\+10-2x501-lambda1-seed0-steps2750"):
        ROWS.read(path)


def test_the_models_with_the_least_kl_of_each_part_and_lambda_are_trained_on(tmp_path):
    rows = rows_of(tmp_path, [Training(model, seed) for model in EVERY for seed in range(2)])
    chosen = {part: least(rows, part, 2) for part in MAP}
    for weight in WEIGHTS:
        of_sizes, of_networks = (
            [model for model in chosen[part] if model.mi_weight == weight] for part in MAP
        )
        assert of_sizes == [Model(50, 2, mi_weight=weight), Model(50, 5, mi_weight=weight)]
        assert {model.hidden_units for model in of_networks} == {2000}
        assert len(of_networks) == FEWEST
    long = {block.name: block for block in blocks(rows, 2, 3)}[LONG]
    assert {(t.seed, t.steps) for t in long.trainings} == {(s, EPOCHS_25) for s in range(3)}
    assert len(long.trainings) == 3 * len(MAP) * len(WEIGHTS) * FEWEST
    # Without the term nothing is chosen.
    assert all(t.model.mi_weight > 0 for t in long.trainings)
    # One run of the networks is not there: their part waits, the other does not.
    assert rows[-1]["hidden_units"] == 2000
    assert least(rows[:-1], "networks", 2) == []
    assert least(rows[:-1], "sizes", 2) == chosen["sizes"]
    assert len(blocks(rows[:-1], 2, 3)[-1].trainings) == 3 * len(chosen["sizes"])
    assert least(rows, "sizes", 3) == []


@pytest.fixture
def machines(monkeypatch):
    """Machines that do any run at once."""
    done = []

    def run(self, todo, folder, what="runs", ended=None):
        outcomes = []
        for each in todo:
            units, weight = each.name.split("x")[1].split("-seed")[0].split("-lambda")
            finish_as(folder / each.name, 400.0 / int(units) / (float(weight) or 0.1))
            done.append(each.name)
            outcomes.append(Outcome(each.name, "done", folder / "run.log"))
            ended(outcomes[-1])
        return outcomes

    def finish_as(own, kl):
        own.mkdir(parents=True)
        (own / "metrics.json").write_text(json.dumps(metrics_of(kl)))

    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr("experiments.capacity.report.save", lambda figures, folder: None)
    return done


def test_one_command_makes_the_map_then_the_longer_trainings(tmp_path, machines, capsys):
    table = tmp_path / TABLE
    flags = ["--table", str(table), "--seeds", "1", "--long-seeds", "1"]
    assert program.main([*flags, "--blocks", "sizes", "--out", str(tmp_path / "a")]) == 0
    assert len(machines) == 18
    assert program.main([*flags, "--out", str(tmp_path / "b")]) == 0
    long = [name for name in machines if name.endswith(f"steps{EPOCHS_25}")]
    assert len(machines) == RUNS + len(long)
    assert len(long) == 8
    assert machines[-len(long) :] == long
    assert "After 25 epochs" in capsys.readouterr().out
    # All is in the table: nothing is run again, in whatever folder.
    before = len(machines)
    assert program.main([*flags, "--out", str(tmp_path / "c")]) == 0
    assert len(machines) == before
    report = (tmp_path / "c" / "capacity.md").read_text()
    assert report == (tmp_path / "b" / "capacity.md").read_text()


def test_longer_trainings_without_a_map_are_refused_before_anything_is_made(
    tmp_path, machines, capsys
):
    flags = ["--table", str(tmp_path / TABLE), "--out", str(tmp_path / "a"), "--seeds", "1"]
    assert program.main([*flags, "--blocks", "long"]) == 1
    error = capsys.readouterr().err
    assert "lacks 18 of sizes and 24 of networks: add a part to --blocks" in error
    assert not (tmp_path / "a").exists()
    assert program.main([*flags, "--blocks", "sizes"]) == 0
    assert program.main([*flags, "--blocks", "long", "--long-seeds", "1"]) == 0
    assert len([name for name in machines if name.endswith(f"steps{EPOCHS_25}")]) == 4


def test_the_report_says_where_the_noise_is_ignored(tmp_path):
    trainings = [
        *(Training(model, 0) for model in MAP["sizes"]),
        Training(Model(20, 5, mi_weight=0.0), 0),
        Training(Model(50, 2, mi_weight=2.0), 0, EPOCHS_25),
    ]
    rows = rows_of(tmp_path, trainings)
    below = sum(kl_of(model) < 0.5 for model in MAP["sizes"])
    first, networks, without, last = sentences(rows)
    assert f"With the sizes varied, 5 epochs, {below} of 18 trainings ignore the noise" in first
    assert without.startswith("Without the term, with the sizes varied, 5 epochs, 0 of 1 trainings")
    assert "0 of 2" in networks or "1 of 2" in networks
    assert last.startswith("After 25 epochs, 1 of 1 trainings ignore the noise")
    text = "\n\n".join(tables(rows))
    assert "| code | noise 2 | noise 5 | noise 10 |" in text
    assert "| 50 | 0.2 | 0.2 | 0.3 |" in text  # lambda 1: .16 and a hundredth of the noise
    assert "of 500 units; lambda 0**" in text
    assert "| 20 | - | 9.0 | - |" in text
    assert "| 50 + 2 | 2 of 500 | 2 | 0 | 20.0 | 0.1 | 25.0 | 0.1 | 0 | yes |" in text


def test_every_training_is_a_point_of_the_figure(tmp_path):
    models = [*PARTS[WITHOUT], *MAP["sizes"]]
    trainings = [Training(model, seed) for model in models for seed in range(2)]
    long = Training(Model(50, 10), 0, EPOCHS_25)
    figure = noise_map(rows_of(tmp_path, [*trainings, long]))
    lines = [line for axes in figure.axes[:3] for line in axes.lines]
    small = [line for line in lines if line.get_markersize() == SMALL]
    stars = [line for line in lines if line.get_marker() == "*"]
    assert len(small) == len(trainings)
    assert [tuple(map(float, line.get_xydata()[0])) for line in stars] == [
        (50.0, pytest.approx(kl_of(long.model)))
    ]


def test_a_table_that_is_cut_off_or_lacks_a_number_is_refused(tmp_path):
    """A number that lost its last digits was taken for another one."""
    rows_of(tmp_path, [Training(Model(), 0)])
    path = tmp_path / "rows.csv"
    whole = path.read_text()
    path.write_text(whole[:-3])
    with pytest.raises(ValueError, match="ends within a line"):
        ROWS.read(path)
    columns, cells = (line.split(",") for line in whole.splitlines())
    cells[columns.index("kl/z")] = ""
    path.write_text("\n".join([",".join(columns), ",".join(cells), ""]))
    with pytest.raises(ValueError, match="expected a value of kl/z, found none"):
        ROWS.read(path)
