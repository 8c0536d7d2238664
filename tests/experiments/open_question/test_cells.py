"""Cells and blocks of the design, and the runs that flags choose of them."""

import pytest

from experiments.open_question import program as open_question
from experiments.open_question.design.cells import (
    AGAIN,
    FOLLOW_UP,
    MOST_SEEDS,
    MainModel,
    blocks,
    smoke_blocks,
    stages,
)


def test_the_blocks_are_the_designs():
    every = {block.name: block for block in blocks()}
    order = ("confirmatory", "resampled", "controls", "sprites", "symmetry", "size", "category")
    assert tuple(every) == (*order, "weight", FOLLOW_UP, *AGAIN, "main")
    assert {block.name for block in every.values() if block.adds == "fresh"} == set(AGAIN)
    confirmatory = every["confirmatory"]
    assert confirmatory.seeds == 40
    assert len(set(confirmatory.cells)) * confirmatory.seeds == 480
    assert {c.arm for c in confirmatory.cells} == {"G", "P", "T"}
    assert {c.data for c in confirmatory.cells} == {"D3", "D4"}
    assert {c.mi_weight for c in confirmatory.cells} == {0.0, 2.0}
    assert all(block.seeds >= 10 for block in every.values() if block.cells)
    assert len(every["main"].models) == 30
    *before, added = blocks(add_seeds=True)
    assert before == blocks()
    assert (added.name, added.seeds, added.adds) == ("added-seeds", MOST_SEEDS, "rule")
    assert {(c.arm, c.data, c.mi_weight) for c in added.cells} == {
        (arm, data, 2.0) for arm in ("T", "G") for data in ("D3", "D4")
    }


@pytest.mark.slow
def test_every_run_is_one_that_the_programs_take(tmp_path):
    from experiments.mnist.config import parse_run
    from experiments.open_question.jobs.train_arm import parse

    data, trained, measured = stages(blocks(), tmp_path, seeds=None, scale="full")
    names = [run.name for run in (*data, *trained, *measured)]
    assert len(set(names)) == len(names)
    seeds = 0
    for run in (*data, *trained):
        if run.module == "experiments.open_question.jobs.train_arm":
            config = parse(list(run.arguments))
            assert (config.train, config.test, config.epochs) == (10_000, 10_000, 15)
            assert (config.batch_size, config.learning_rate) == (100, 1e-3)
            assert (config.hidden, config.channel) == ((256, 256), "straight-through")
            assert run.goes_on
            seeds += config.num_seeds
        else:
            config, _ = parse_run([*run.arguments, "--out", "x"])
            assert config.data.data == "mnist"
    planned = 480 + 80 + 60 + 80 + 180 + 60 + 80 + (80 + 30) + 160
    assert seeds == planned + 40 + 120 + 240  # of what was looked at again
    assert len(measured) == 30
    assert {run.module for run in measured} == {"experiments.open_question.jobs.measure_codes"}


def test_planned_seeds_of_every_block_come_before_added_ones(tmp_path):
    _, trained, _ = stages(blocks(), tmp_path, seeds=None, scale="full")
    names = [run.name for run in trained]
    last = max(names.index(n) for n in names if "D6" in n and n.endswith(("seeds0-9", "10-19")))
    assert last < names.index("P-D6a-lambda2-seeds20-29")
    assert names.index("T-D5-lambda2-seeds10-19") < names.index("P-D3-lambda2-seeds40-49")
    assert len(set(names)) == len(names)
    # Whatever comes after the main models, all of them are measured.
    _, _, measured = stages(blocks(add_seeds=True), tmp_path, seeds=None, scale="full")
    assert len(measured) == 30


def test_first_seeds_of_all_cells_come_first(tmp_path):
    _, trained, _ = stages(blocks()[:1], tmp_path, seeds=None, scale="full")
    parts = [run.name.rpartition("-seeds")[2] for run in trained]
    assert parts == sorted(parts, key=lambda part: int(part.split("-")[0]))
    assert parts.count("0-9") == 12
    data, trained, measured = stages(blocks(), tmp_path, seeds=2, scale="full")
    assert trained[0].name == "G-D3-lambda0-seeds0-1"
    assert len(measured) == 12
    assert {run.name for run in data} >= {"data-D3", "data-D1-control", "data-D6b"}
    # A cell of two blocks has the more seeds, and is run once.
    some = [block for block in blocks() if block.name in ("confirmatory", "category")]
    names = [run.name for run in stages(some, tmp_path, seeds=None, scale="full")[1]]
    assert names.count("T-D3-lambda2-seeds0-9") == names.count("T-D3-lambda2-seeds30-39") == 1


def test_flags_choose_what_is_run(tmp_path, monkeypatch):
    todo = []
    monkeypatch.setattr(
        open_question,
        "run_stages",
        lambda config, folder, stages, write, **_: todo.extend(stages) or 0,
    )
    out = ["--out", str(tmp_path)]
    assert (
        open_question.main([*out, "--blocks", "added-seeds", "--add-seeds", "--seeds", "50"]) == 0
    )
    assert [len(stage) for stage in todo] == [2, 4 * 5, 0]
    todo.clear()
    assert open_question.main([*out, "--blocks", "main", "--seeds", "2"]) == 0
    assert [len(stage) for stage in todo] == [0, 12, 12]


def test_smoke_is_small(tmp_path):
    data, trained, measured = stages(smoke_blocks(), tmp_path, seeds=None, scale="smoke")
    assert (len(data), len(trained), len(measured)) == (0, 5, 1)
    model = MainModel("uniform", 1.0, "straight-through", 0)
    assert measured[0].arguments == (str(tmp_path / model.name), "--smoke")


def test_flags_that_are_refused(tmp_path, capsys):
    assert open_question.main(["--seeds", "0", "--out", str(tmp_path)]) == 1
    assert "--seeds must be at least 1" in capsys.readouterr().err
    assert open_question.main(["--blocks", "sprite", "--out", str(tmp_path)]) == 1
    assert "expected some of confirmatory" in capsys.readouterr().err
