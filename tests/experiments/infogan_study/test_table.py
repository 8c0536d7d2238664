"""The table: rows that are added as runs end, read again, and skipped by the next start."""

import json
import math

import pytest
from simulated_table import row_of, study

from experiments.infogan_study import config, program
from experiments.infogan_study.design import cells
from experiments.infogan_study.design.cells import (
    CELLS,
    FACTORIAL,
    INFOGAN,
    MENDED_SEED,
    MOST_SEEDS,
    PRE_CHECK_SEED,
    Cell,
    blocks,
    law_cells,
    smoke_blocks,
    stages,
)
from experiments.infogan_study.rows import ROWS, TABLE, cell_of, value
from experiments.infogan_study.rules.verdict import results
from experiments.runner.engine import Engine
from experiments.runner.run import Outcome
from experiments.tables import write_table

VAE = Cell("vae", False, "gaussian", "learnt", "D4")


def finish(folder, row):
    """What a run leaves when it is done."""
    own = folder / row["run"]
    own.mkdir(parents=True)
    (own / "metrics.json").write_text(json.dumps(row))
    return own


def test_the_cells_and_blocks_are_the_designs():
    assert len(FACTORIAL) == 24 == len(set(FACTORIAL))
    assert len(CELLS) == 32 == len(set(CELLS))
    confirmatory = {block.name: block for block in blocks()}["confirmatory"]
    assert (len(confirmatory.cells), confirmatory.seeds) == (32, tuple(range(12)))
    assert {c.category for c in law_cells("D4") if c.training == "gan"} == {True}
    assert {c.category for c in law_cells("D4") if c.training == "vae"} == {False}
    pre_check = {block.name: block for block in blocks()}["pre-check"]
    assert set(CELLS) < set(pre_check.cells)
    assert pre_check.seeds == (PRE_CHECK_SEED,)
    assert PRE_CHECK_SEED >= MOST_SEEDS
    mended = {block.name: block for block in blocks()}["mended"]
    assert {(c.training, c.category) for c in mended.cells} == {("vae", True)}
    assert (len(mended.cells), mended.seeds) == (6, (MENDED_SEED,))
    assert MENDED_SEED > PRE_CHECK_SEED
    others = set(pre_check.cells) - set(CELLS)  # of the other candidate, GANs
    assert {(c.training, c.data) for c in others} == {("gan", "D4-laplace")}
    assert len(others) == 4


def test_runs_come_replicate_by_replicate():
    data, runs = stages([block for block in blocks(3) if block.name == "confirmatory"])
    assert [run.name for run in data] == ["data-D3", "data-D4"]
    assert [run.name for run in runs[:32]] == [cell.run_name(0) for cell in CELLS]
    assert [run.name for run in runs[32:64]] == [cell.run_name(1) for cell in CELLS]
    assert len(runs) == 96


def test_every_run_is_one_that_its_program_takes():
    from experiments.command_line import parse
    from experiments.infogan_study.jobs.settings import CellConfig, DataConfig, settled
    from experiments.infogan_study.jobs.train_cell import cell_of as cell_of_config

    data, runs = stages(blocks())
    assert len({run.name for run in (*data, *runs)}) == 3 + 36 + 6 + 384
    assert all(run.goes_on for run in (*data, *runs))
    for run in (*data, *runs[:40]):
        kind = DataConfig if run in data else CellConfig
        config = settled(parse(kind, "x", "", run.arguments))
        assert (config.pool, config.digits) == (50_000, "mnist")
        if run in runs:
            assert run.name == cell_of_config(config).run_name(config.seed)
            assert (config.train, config.batch_size, config.draws) == (10_000, 32, 5_000)
            assert config.steps == (7500 if config.training == "gan" else 2500)


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = study(0, num_seeds=2)
    rows[0] |= {"alignment": None}
    write_table(rows, tmp_path, TABLE)
    again = ROWS.read(tmp_path / TABLE)
    assert [cell_of(row) for row in again] == [cell_of(row) for row in rows]
    for row, other in zip(rows, again, strict=True):
        assert all(other[name] == number for name, number in row.items())
        assert set(other) == {name for each in rows for name in each}
    assert math.isnan(value(again[0], "alignment"))
    assert ROWS.read(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("bound/c", "bound/x"), "has no column 'bound/c'"),
        (lambda text: text + text.splitlines()[-1] + "\n", "each run once, found vae-plain"),
        (lambda text: text + "gan,1\n", "as many cells as there are columns"),
        (lambda text: text.replace("-seed0", "-seed5", 1), "line 2: expected the run"),
        (lambda text: text.replace(",7500,", ",many,", 1), "a number for steps, found 'many'"),
        (lambda text: text.replace(",7500,", ",,", 1), "a value of steps, found none"),
    ],
)
def test_a_table_that_is_damaged_is_named(tmp_path, change, words):
    write_table(study(0, num_seeds=1), tmp_path, TABLE)
    path = tmp_path / TABLE
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=words):
        ROWS.read(path)


def test_a_run_is_added_once(tmp_path, capsys):
    table = tmp_path / "results" / TABLE
    rows = [row_of(INFOGAN, 0, 1.0), row_of(VAE, 0, 0.5, bound_x=1.0)]
    folders = [finish(tmp_path, row) for row in rows]
    assert ROWS.add(table, [tmp_path / "not-done"]) == 0
    assert not table.exists()
    assert ROWS.add(table, folders[:1]) == 1
    assert ROWS.add(table, folders) == 1  # a column more
    assert ROWS.add(table, folders) == 0
    assert [row["run"] for row in ROWS.read(table)] == [row["run"] for row in rows]
    assert not list(table.parent.glob(".*"))
    (folders[0] / "metrics.json").write_text("{")
    broken = finish(tmp_path, {**row_of(VAE, 1, 1.0), "run": "broken"})
    (broken / "metrics.json").write_text('{"run": "broken"}')
    assert ROWS.add(table, [folders[0], broken]) == 0
    assert "The tables leave this run out" in capsys.readouterr().err


@pytest.fixture
def machines(monkeypatch):
    """Machines that do a run at once, of this table; they stop after some."""
    done = []
    rows = {row["run"]: row for row in study(0, num_seeds=2)}

    def run(self, todo, folder, what="runs", ended=None):
        outcomes = []
        for each in todo:
            if each.name in rows and len(done) < 40:
                finish(folder, rows[each.name])
                done.append(each.name)
            status = "done" if each.name in done or each.name not in rows else "stopped"
            outcomes.append(Outcome(each.name, status, folder / "run.log"))
            ended(outcomes[-1])
        return outcomes

    monkeypatch.setattr(Engine, "run", run)
    return done


@pytest.mark.usefixtures("unrendered")
def test_a_machine_that_lost_its_folders_goes_on_from_the_table(tmp_path, machines, capsys):
    table = tmp_path / TABLE
    flags = ["--table", str(table), "--seeds", "2"]
    assert program.main([*flags, "--out", str(tmp_path / "lost")]) == 130
    assert len(ROWS.read(table)) == 40
    assert "1 whole replicates" in capsys.readouterr().out.replace("\n", " ")
    before = list(machines)
    machines.clear()
    assert program.main([*flags, "--out", str(tmp_path / "new")]) == 0
    assert len(machines) == 24
    assert not set(machines) & set(before)
    rows = ROWS.read(table)
    assert len(rows) == 64
    assert len(results(rows)) == 6
    # Nothing is left to do, and the report is of the table alone.
    machines.clear()
    assert program.main([*flags, "--out", str(tmp_path / "third")]) == 0
    assert machines == []
    report = (tmp_path / "third" / "infogan_study.md").read_text()
    assert report == (tmp_path / "new" / "infogan_study.md").read_text()
    assert (tmp_path / "third" / "figures" / "effects.png").exists()


def test_what_ended_when_nobody_looked_is_added_at_the_next_start(tmp_path, machines):
    folder = tmp_path / "study"
    finish(folder, row_of(INFOGAN, 0, 1.0))
    assert program.main(["--blocks", "none", "--out", str(folder)]) == 0
    assert [row["run"] for row in ROWS.read(folder / TABLE)] == [INFOGAN.run_name(0)]
    assert machines == []


def test_what_the_settings_repeat_is_the_designs():
    assert config.MOST_SEEDS == MOST_SEEDS == 2 * cells.SEEDS
    assert cells.SECOND_LAW in ("D4", "D4-laplace")
    assert {c.training for block in smoke_blocks() for c in block.cells} == {"gan", "vae"}
