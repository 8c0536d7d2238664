"""Rows of the folder's runs and of earlier tables."""

import json

import pytest
from folders import PAIRS, study, write
from simulated import simulated

from experiments.open_question import program as open_question
from experiments.open_question import rows as numbers
from experiments.open_question.design.cells import (
    Block,
    Cell,
    MainModel,
    blocks,
    stages,
)
from experiments.open_question.earlier import read_table, seeds_of
from experiments.open_question.report.document import report, write_report
from experiments.tables import write_table

pytestmark = pytest.mark.usefixtures("unrendered")


def test_a_seed_that_was_run_twice_counts_once(tmp_path):
    cell = Cell("T", "D3")
    write(tmp_path, cell, range(10), simulated)
    other = tmp_path / f"{cell.name}-seeds0-1"
    other.mkdir()
    (other / "seed1.json").write_text(json.dumps(simulated(1)))
    other = tmp_path / "T-D3-lambda2-scale1-seeds0-9"
    other.mkdir()
    (other / "seed77.json").write_text(json.dumps(simulated(77)))
    assert [row["seed"] for row in numbers.cell_rows(cell, tmp_path)] == list(range(10))


def test_seeds_of_another_form_of_the_term_are_told_apart(tmp_path):
    plain, scaled = Cell("I", "D3"), Cell("I", "D3", code_scale=1.0)
    write(tmp_path, scaled, range(10), simulated)
    rows = numbers.read_rows([Block("category", (plain, scaled), 10)], tmp_path)
    assert seeds_of(rows) == {scaled.name: set(range(10))}
    assert not list(scaled.runs(10, known=range(10)))
    assert [run.name for run in scaled.runs(20, known=range(10))] == [f"{scaled.name}-seeds10-19"]
    assert len(list(scaled.runs(10, known=range(9)))) == 1  # the last is lacking


def test_what_a_table_has_is_not_run_again(tmp_path):
    table = tmp_path / "earlier.csv"
    study(tmp_path, effect=0.0, seeds=40)  # T and G at weight 2
    every = blocks()
    rows = numbers.read_rows(every, tmp_path)
    write_table(rows, tmp_path, table.name)
    earlier = read_table(table)
    known = seeds_of(earlier)
    assert known == {
        Cell(arm, data).name: set(range(40)) for pair in PAIRS for data in pair for arm in "TG"
    }
    confirmatory = [block for block in every if block.name == "confirmatory"]
    _, trained, _ = stages(confirmatory, tmp_path, seeds=None, scale="full", known=known)
    assert len(trained) == 4 * (2 + 6)  # P, and all without the term
    assert not any(run.name.startswith(("T-D3-lambda2-", "G-D4-lambda2-")) for run in trained)
    added = [blocks(add_seeds=True)[-1]]
    data, trained, _ = stages(added, tmp_path, seeds=None, scale="full", known=known)
    assert [run.name for run in data] == ["data-D3", "data-D4"]
    assert {run.name.rpartition("-seeds")[2] for run in trained} == {
        f"{first}-{first + 9}" for first in (40, 50, 60, 70)
    }
    assert len(trained) == 16
    # A run of which some seeds are known is run; data of which nothing is run are not drawn.
    known["T-D3-lambda2"].remove(25)
    known["G-D3-lambda2"] = known["T-D4-lambda2"] = known["G-D4-lambda2"] = set(range(80))
    data, trained, _ = stages(added, tmp_path, seeds=None, scale="full", known=known)
    assert [run.name for run in data] == ["data-D3"]
    assert "T-D3-lambda2-seeds20-29" in {run.name for run in trained}
    assert len(trained) == 5
    main = [block for block in every if block.name == "main"]
    model = MainModel("uniform", 1.0, "mean", 3)
    known = seeds_of([{**rows[0], "run": model.name, "arm": "main-uniform", "data": "mnist"}])
    assert set(known) == {model.name}
    _, trained, measured = stages(
        main, tmp_path, seeds=None, scale="full", known={model.name: {model.seed}}
    )
    assert len(trained) == len(measured) == 29
    assert model.name not in {run.name for run in trained}


@pytest.mark.slow
def test_a_table_is_read_as_the_folders_it_was_made_of(tmp_path):
    folder = tmp_path / "runs"
    every = study(folder, effect=0.0)
    category = Cell("I", "D3")
    told = {"category": {"accuracy": 0.4, "mi_category_label": 1.0, "mi/d": 1.1}}
    write(folder, category, range(2), lambda seed: simulated(seed) | told)
    lost = simulated(4)
    lost["alignment"] |= {"share_T": None, "leading_top": None}
    lost["generator"]["exclusivity"][0][0] = None
    write(folder, Cell("T", "D4"), [4], lambda seed: lost)
    every.append(Block("category", (category,), 2))
    report_of = write_report(every, folder).read_text()
    rows, earlier = numbers.read_rows(every, folder), read_table(folder / "open_question.csv")
    assert earlier == rows
    assert "accuracy" in earlier[-1]
    assert "accuracy" not in earlier[0]
    # Elsewhere, from the table alone: no picture of what a model has made, unless it was drawn.
    other = tmp_path / "other"
    alone = write_report(every, other, earlier=earlier).read_text()
    assert alone.partition("![")[0] == report_of.partition("![")[0]
    assert "traversals_T_D3" in report_of
    assert "traversals_" not in alone
    for name in ("T_D3", "G_D3"):
        (other / "figures" / f"traversals_{name}.png").write_bytes(b"drawn before")
    # That of G is of a run with other numbers, as the table beside it says.
    changed = [{**row, "elbo": -1.0} if row["arm"] == "G" else row for row in earlier]
    write_table(changed, other, "open_question.csv")
    again = write_report(every, other, earlier=earlier).read_text()
    assert "figures/traversals_T_D3.png" in again
    assert "traversals_G_D3" not in again
    assert (other / "figures" / "traversals_T_D3.png").read_bytes() == b"drawn before"
    # Images without the numbers of their run are not drawn: the row is the table's.
    half = other / "T-D3-lambda2-seeds0-9"
    half.mkdir()
    (half / "seed0.npz").write_bytes(b"")
    assert "figures/traversals_T_D3.png" in write_report(every, other, earlier=earlier).read_text()
    # The folder's own runs count, and are counted once.
    write(other, Cell("T", "D3"), range(10, 14), lambda seed: simulated(seed, thickness=9.0))
    merged = numbers.of_cell(numbers.read_rows(every, other, earlier), Cell("T", "D3"))
    assert [row["seed"] for row in merged] == list(range(14))
    assert [row["I_T"] == 9.0 for row in merged] == [False] * 10 + [True] * 4
    table = folder / "open_question.csv"
    write_table(merged[:2], tmp_path, "some.csv")
    assert (tmp_path / "some.csv").read_text().splitlines()[1] in table.read_text()
    main = {**merged[0], "run": "main-uniform-mean-lambda1-seed0", "arm": "main-uniform"}
    model = MainModel("uniform", 1.0, "mean", 0)
    found = numbers.read_rows([Block("main", models=(model,))], other, [*merged, main])
    assert found == [main]
    codes = other / f"codes-{model.name}"
    codes.mkdir()
    (codes / "metrics.json").write_text(json.dumps(simulated(0)))
    own = numbers.read_rows([Block("main", models=(model,))], other, [main])
    assert [row["I_T"] for row in own] == [0.4]


@pytest.mark.slow
def test_nothing_that_a_table_has_is_lost(tmp_path, capsys, monkeypatch):
    study(tmp_path, effect=0.0)
    docs = tmp_path / "docs"
    (docs / "results").mkdir(parents=True)
    write_table(numbers.read_rows(blocks(), tmp_path), docs / "results", "open_question.csv")
    published = docs / "results" / "open_question.csv"
    before = published.read_bytes()
    flags = ["--blocks", "none", "--out", str(tmp_path / "other"), "--docs", str(docs)]
    write(tmp_path / "other", Cell("T", "D3"), range(2), simulated)
    assert open_question.main(flags) == 1
    words = "has 142 runs that would be lost, ('G-D3-lambda2', 0) for one: give it with --earlier"
    assert words in capsys.readouterr().err
    assert published.read_bytes() == before
    # A cell that the study does not have is not dropped, either.
    alien = tmp_path / "alien.csv"
    alien.write_text(before.decode().replace(",D6b,", ",D9,"))
    published.write_bytes(alien.read_bytes())
    assert open_question.main([*flags, "--earlier", str(alien)]) == 1
    assert "has 24 runs that would be lost, ('T-D9-lambda2', 0)" in capsys.readouterr().err
    published.write_bytes(before)
    assert open_question.main([*flags, "--earlier", str(published)]) == 0
    assert f"2 runs of {tmp_path / 'other'}, 142 of {published}" in capsys.readouterr().out
    assert len(read_table(published)) == 144
    assert (docs / "figures" / "open_question_interaction_I_T.png").exists()
    # What the report needs is missed before anything is trained.
    run = []
    monkeypatch.setattr(open_question, "run_stages", lambda *_, **__: run.append(1))
    lacking = [{k: v for k, v in r.items() if k != "sum/label"} for r in read_table(published)]
    write_table(lacking, tmp_path, "lacking.csv")
    old = ["--earlier", str(tmp_path / "lacking.csv"), "--out", str(tmp_path / "third")]
    assert open_question.main(old) == 1
    assert "has no column 'sum/label'" in capsys.readouterr().err
    lacking = [{k: v for k, v in r.items() if k[:6] != "exclus"} for r in read_table(published)]
    write_table(lacking, tmp_path, "lacking.csv")
    assert open_question.main(old) == 1
    assert "is of another version of the study ('exclusivity/c[0]" in capsys.readouterr().err
    assert not run


def test_a_cell_whose_second_code_is_dead_in_every_run_is_read_back(tmp_path):
    dead = simulated(0)
    dead["alignment"]["top"] = ["thickness", None]
    for name in ("slope", "exclusivity"):
        dead["generator"][name][1] = [None] * 3
    write(tmp_path, Cell("T", "D3"), range(2), lambda seed: {**dead, "seed": seed})
    write(tmp_path, Cell("G", "D3"), range(2), simulated)
    every = [Block("confirmatory", (Cell("T", "D3"), Cell("G", "D3")), 2)]
    rows = numbers.read_rows(every, tmp_path)
    write_table(rows, tmp_path, "open_question.csv")
    earlier = read_table(tmp_path / "open_question.csv")
    assert earlier == rows
    assert report(every, earlier) == report(every, rows)


@pytest.mark.slow
def test_the_program_takes_a_table_of_earlier_runs(tmp_path, capsys, monkeypatch):
    study(tmp_path, effect=0.0, seeds=40)
    write_table(numbers.read_rows(blocks(), tmp_path), tmp_path, "earlier.csv")
    earlier, other = str(tmp_path / "earlier.csv"), str(tmp_path / "other")
    stages_of = []

    def run_stages(config, folder, todo, write, **_):
        stages_of.extend(todo)
        return 0 if write() else 1

    monkeypatch.setattr(open_question, "run_stages", run_stages)
    flags = ["--earlier", earlier, "--out", other, "--blocks", "resampled", "sprites"]
    assert open_question.main(flags) == 0
    assert stages_of == [[], [], []]
    published = (tmp_path / "other" / "open_question.csv").read_text()
    assert published == (tmp_path / "earlier.csv").read_text()
    bad = tmp_path / "bad.csv"
    head, line = published.splitlines()[:2]
    cut, broken, unnamed = line.rpartition(",")[0], f"{line},1", line.replace(",G,", ",,", 1)
    wrong = line.replace(",2.0,", ",0.x,", 1)
    for text, words in {
        "run,arm\nx,T\n": "has no column 'data': name another file",
        f"{head}\n": "has no run: expected a row for each",
        f"{head}\n{line}\n{cut}\n": "bad.csv, line 3: expected as many cells as there are columns",
        f"{head}\n{broken}\n": "line 2: expected as many cells",
        f"{head}\n{unnamed}\n": "line 2: expected a value of arm, found none. Take a whole copy",
        f"{head}\n{wrong}\n": "found '0.x'. Take a whole copy of the table",
        f"{head}\n{line}\n{line}\n": "line 3: expected each run once, found ('G-D3-lambda2', 0)",
        f"{head}\n{line.replace(',0,', ',,', 1)}\n": "line 2: expected a value of seed",
        f'{head}\n"{line}\n': "is no CSV in UTF-8",
    }.items():
        bad.write_text(text)
        assert open_question.main(["--earlier", str(bad), "--blocks", "none"]) == 1
        assert words in capsys.readouterr().err
    lost = str(tmp_path / "none.csv")
    assert open_question.main(["--earlier", lost, "--blocks", "none"]) == 1
    assert "none.csv" in capsys.readouterr().err
    assert open_question.main(["--earlier", earlier, "--smoke"]) == 1
    assert "leave it out with --smoke" in capsys.readouterr().err
