"""The report, its tables and its figures, of simulated and of published runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from folders import judged, study, write
from simulated import simulated

from experiments.open_question import rows as numbers
from experiments.open_question.design.cells import (
    FOLLOW_UP,
    Block,
    Cell,
    blocks,
)
from experiments.open_question.earlier import read_table
from experiments.open_question.report import document
from experiments.open_question.report.added_seeds import INTERACTIONS
from experiments.open_question.report.checks import checks_table
from experiments.open_question.report.document import report, write_report
from experiments.open_question.report.figures import draw
from experiments.open_question.rows import planned_seeds, without_fresh
from experiments.open_question.rules.h1 import judge_h1
from experiments.tables import number
from pyro_mivae import plotting


def test_the_bound_beside_a_category_is_shown_alone(tmp_path):
    def make(seed):
        found = simulated(seed)
        found["terms"] |= {"mi/d": 1.75, "mi/c": 1.25}
        return found

    cell = Cell("I", "D3")
    write(tmp_path, cell, range(2), make)
    text = checks_table(numbers.cell_rows(cell, tmp_path))
    assert "| 3.00 (0); of c alone 1.25 | 0 of 2 |" in text


@pytest.mark.slow
def test_report_of_a_part_of_the_study(tmp_path):
    every = blocks()
    assert write_report(every, tmp_path) is None
    for arm in ("T", "G"):
        for data in ("D3", "D4"):
            write(tmp_path, Cell(arm, data), range(3), simulated)
    write(tmp_path, Cell("T", "D3", 0.0), range(2), lambda seed: simulated(seed, mi=-1.0))
    codes = tmp_path / "codes-main-uniform-mean-lambda1-seed0"
    codes.mkdir()
    main = simulated(0)
    main["alignment"]["factors"] = ["thickness", "slant", "label", "width"]
    main["alignment"]["mi"] = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]
    main["cross_checks"] = {
        "ksg": [[0.01, 0.02, 0.03, 0.04], [0.05, 0.06, 0.07, 0.08]],
        "within": [[0.31, 0.42, 0.53], [0.35, 0.41, 0.52]],
        "within_factors": ["thickness", "slant", "width"],
    }
    main["checks"] = {"posterior_ks": [0.1], "unmeasured": 0}
    (codes / "metrics.json").write_text(json.dumps(main))
    other = tmp_path / "codes-main-gaussian-mean-lambda1-seed0"
    other.mkdir()
    main["alignment"]["mi"] = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.7, 0.75, 0.8]]
    (other / "metrics.json").write_text(json.dumps(main))
    images = np.zeros((2, 3, 9, 28, 28), np.uint8)
    for folder in (codes, other):
        np.savez(folder / "traversals.npz", images=images, measured=np.ones((2, 3, 9, 3)))
    docs = tmp_path / "docs"
    (docs / "results").mkdir(parents=True)
    path = write_report(every, tmp_path, docs)
    text = path.read_text()
    assert "| uniform, λ 1, mean | 0.50 | 0.60 | 0.80 | 0.70 |" in text
    line = "| uniform, λ 1, mean | 0.35 | 0.42 | 0.53 | 0.05 | 0.06 | 0.08 | 0.07 | 1 |"
    assert line in text
    less = text.partition("uniform prior less Gaussian")[2]
    assert "| λ 1, mean | 0.200 | −0.100 | 0.000 | −0.050 | 1 |" in less
    assert "The generator, MNIST" in text
    assert "**H1: not judged yet (not done: 148 runs on re-inked, 80 runs on resampled" in text
    assert "| H1, the poster's | not judged yet (not done: 148 runs" in text
    assert "| H2, symmetry | not yet (100 runs are not done) | - |" in text
    assert "| H5, adversary | not tested here | - |" in text
    assert "| T, 2 | 0.40 (0.40 to 0.40) |" in text
    assert "| T on D3, 2 | yes | 0.010 | 0.970 | 0.030 | 0.030 | 3.00 (0) | 0 of 3 |" in text
    assert "| T on D3, 0 | no | 0.010 | 0.970 | 0.030 | 0.030 | - | 0 of 2 |" in text
    assert "thickness 3, slant 3" in text  # of each code
    assert "2 of 30 models" in text
    assert "H5, adversary" in text
    documented = (docs / "results" / "open_question.md").read_text()
    assert documented == text.replace("(figures/", "(../figures/open_question_")
    linked = [line.rpartition("(")[2][:-1] for line in text.splitlines() if line[:2] == "!["]
    assert {tmp_path / name for name in linked} == set((tmp_path / "figures").glob("*.png"))
    with (tmp_path / "open_question.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row["arm"] for row in rows} == {"T", "G", "main-uniform", "main-gaussian"}
    assert rows[0]["mi/c[1]/slant"] == "0.6"
    drawn = {p.stem for p in (docs / "figures").glob("*.png")}
    names = ("interaction_I_T", "interaction_share_T", "top_factors", "mi_arms", "mi_main")
    assert drawn >= {f"open_question_{name}" for name in names}
    assert "open_question_traversals_main_uniform_mean_lambda1" in drawn
    assert "open_question_traversals_T_D3" in drawn


def test_the_control_of_sprites_is_exploratory_and_counts_for_no_rule(tmp_path):
    every = study(tmp_path, effect=0.0)
    rows, before = judged(tmp_path, every)
    assert "on sprites (exploratory)" not in "\n".join(report(every, rows))
    follow_up = next(block for block in blocks() if block.name == FOLLOW_UP)
    rng = np.random.default_rng(2)
    for cell in follow_up.cells:
        t = rng.normal(0.9 if (cell.arm, cell.data) == ("P", "D6a") else 0.3, 0.01, 8)
        write(tmp_path, cell, range(8), lambda seed, t=t: simulated(seed, thickness=float(t[seed])))
    rows, after = judged(tmp_path, [*every, follow_up])
    assert after.verdict == before.verdict
    text = "\n".join(report([*every, follow_up], rows))
    table = text.partition("on sprites (exploratory)**")[2].partition("\n**")[0]
    assert "| sprites, λ 0 (exploratory) | I_T (nats) | " in text
    assert "| sprites, λ 2 | I_S (nats), not in the rule | " in text
    assert "| resampled, λ 2 | I_S" not in text
    assert "| P on D6a, 2 | no, exploratory | " in text
    assert "| T on D6a, 0 | no, exploratory | " in text
    lines = [line.strip("| ").split(" | ")[:3] for line in table.splitlines() if "I_T" in line]
    assert [line[0] for line in lines] == [
        f"{arms}, λ {weight}" for arms in ("P against G", "T against P") for weight in (2, 0)
    ]
    # At weight 2 the second data set has 0.1 more under T and G.
    values = [float(line[2].replace("−", "-")) for line in lines]
    assert values == pytest.approx([0.7, 0.6, -0.7, -0.6], abs=0.03)


def test_added_seeds_have_a_table_of_their_own_and_count_for_no_rule(tmp_path, monkeypatch):
    every = study(tmp_path, effect=0.0)
    planned = judged(tmp_path, every)[1]
    cells = tuple(Cell(arm, data) for arm in ("T", "G") for data in ("D6a", "D6b"))
    beside = Block("sprites-again", cells, 20, adds="fresh")
    text = "\n".join(report(every, numbers.read_rows(every, tmp_path)))
    assert "Interactions in the planned seeds" not in text
    for cell in cells:  # -0.5 of I_T in the added seeds, though nothing is there in the planned
        t = 0.2 if (cell.arm, cell.data) == ("T", "D6a") else 0.7
        seeds = range(12, 20)
        write(tmp_path, cell, seeds, lambda s, t=t: simulated(s, thickness=t + 1e-3 * (s % 3)))
    rows = numbers.read_rows([*every, beside], tmp_path)
    assert len(rows) == 12 * 12 + 4 * 8
    text = "\n".join(report([*every, beside], rows))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    added = {tuple(line[1:3]): line[3:] for line in lines if line[0] == "sprites, λ 2"}
    first, more, both = added["T against G", "I_T"]
    assert more == "−0.500 (−0.500 to −0.500; 0.0078; 8)"
    one = planned.contrasts["sprites", "I_T"].contrast
    assert first.startswith(f"{number(one.mean, 3)} (")
    assert first.endswith("; 12)")
    assert float(both.partition(" ")[0].replace("−", "-")) == pytest.approx(
        (12 * one.mean - 8 * 0.5) / 20, abs=6e-4
    )
    assert both.endswith("; 20)")
    assert ("T against P", "I_T") not in added
    # All else is as before: the rule, the tables, what it takes to be complete.
    kept = without_fresh([*every, beside], rows)
    assert [row["seed"] for row in kept] == [*range(12)] * 12
    assert judge_h1([*every, beside], kept).verdict == planned.verdict
    drawn = []
    again = []

    def draw(some, _, interactions):
        drawn.extend(some)
        again.extend(interactions)
        return {}

    monkeypatch.setattr(document, "draw", draw)
    write_report([*every, beside], tmp_path)
    assert drawn == kept
    shown = {(e["panel"], e["group"]): e for e in again}
    assert {e["line"] for e in again} == {"sprites, λ 2\nT against G"}
    assert shown["I_T (nats)", "added seeds"]["value"] == pytest.approx(-0.5)
    low, high = one.interval()
    found = shown["I_T (nats)", "planned seeds"]
    assert (found["value"], found["low"], found["high"]) == (one.mean, low, high)
    before = report(every, kept)
    after = [part for part in report([*every, beside], rows) if "planned seeds" not in part]
    pairs = zip(filter(None, before), filter(None, after), strict=True)
    differ = [new for old, new in pairs if old != new]
    assert [part.splitlines()[0] for part in differ] == ["**Seeds that are done**"]
    # Those that the rule of H1 asks for count, whether or not their block is named.
    write(tmp_path, Cell("G", "D4"), range(12, 14), simulated)
    rows = numbers.read_rows([*every, beside], tmp_path)
    assert len(without_fresh([*every, beside], rows)) == 12 * 12 + 2


def test_every_seed_that_was_added_is_in_the_table_of_interactions():
    shown = {cell for again in INTERACTIONS for cell in again.cells}
    for block in blocks(add_seeds=True):
        if block.adds != "plan":
            assert set(block.cells) <= shown, block.name
            for cell in block.cells:
                assert planned_seeds(blocks(), cell, "plan") < block.seeds
    for again in INTERACTIONS:  # one number of planned seeds for all four cells
        assert len({planned_seeds(blocks(), cell, "plan") for cell in again.cells}) == 1


def test_codes_are_drawn_in_their_order_whatever_that_of_the_columns(monkeypatch, tmp_path):
    rows = [numbers._arm_row(Cell("T", "D3"), simulated(0), "run")]
    names = ("c[0]", "z[10]", "z[2]", "c[1]")
    told = {f"mi/{n}/{f}": 0.1 for n in names for f in ("thickness", "slant", "width", "label")}
    main = {**rows[0], **told, "data": "mnist", "channel": "mean", "run": "main-x-seed0"}
    drawn = {}
    monkeypatch.setattr(plotting, "mi_matrices", lambda found, **settings: drawn.update(settings))
    draw([main], tmp_path)
    assert drawn["codes"] == ["c[0]", "c[1]", "z[2]", "z[10]"]


@pytest.mark.slow
def test_the_published_report_is_what_the_published_table_says():
    published = Path(__file__).parents[3] / "docs" / "results"
    rows = read_table(published / "open_question.csv")
    text = "\n\n".join(part for part in report(blocks(add_seeds=True), rows) if part)
    assert (published / "open_question.md").read_text().startswith(f"{text}\n\n![")
