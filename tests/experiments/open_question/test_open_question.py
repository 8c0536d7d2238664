"""The study of the open question: its runs, and a report of simulated folders."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from simulated import simulated

from experiments.open_question import program as open_question
from experiments.open_question import rows as numbers
from experiments.open_question.design.cells import (
    ADDED,
    AGAIN,
    FOLLOW_UP,
    MOST_SEEDS,
    Block,
    Cell,
    MainModel,
    blocks,
    smoke_blocks,
    stages,
)
from experiments.open_question.earlier import read_table, seeds_of
from experiments.open_question.report import document as _question_report
from experiments.open_question.report.added_seeds import INTERACTIONS
from experiments.open_question.report.checks import checks_table
from experiments.open_question.report.document import report, write_report
from experiments.open_question.report.figures import draw
from experiments.open_question.rows import planned_seeds, without_fresh
from experiments.open_question.rules.h1 import judge_h1
from experiments.open_question.rules.secondary import SECONDARY
from experiments.tables import number, write_table
from pyro_mivae import plotting


def write(folder, cell, seeds, make):
    """The files of some seeds of a cell, ten to a run; `make` gives a seed's numbers."""
    for seed in seeds:
        first = seed // 10 * 10
        run = folder / f"{cell.name}-seeds{first}-{first + 9}"
        run.mkdir(parents=True, exist_ok=True)
        (run / f"seed{seed}.json").write_text(json.dumps(make(seed)))
        images = np.zeros((2, 3, 9, 28, 28), np.uint8)
        arrays = {"images": images, "measured": np.zeros((2, 3, 9, 3)), "values": np.zeros((2, 9))}
        np.savez(run / f"seed{seed}.npz", **arrays)


PAIRS = (("D3", "D4"), ("D1", "D2"), ("D6a", "D6b"))


def study(folder, *, effect, follows=True, seeds=12, **checks):
    """All cells of H1: T carries `effect` more of T where its law is uniform, on top of noise."""
    rng = np.random.default_rng(1)
    for pair in PAIRS:
        for arm in ("T", "G"):
            for place, data in enumerate(pair):
                more = effect if (arm, place) == ("T", 0) else 0.0
                # What a seed or a data set does to all is no interaction.
                noise = rng.normal(0, 0.02, seeds) + 0.1 * place + np.linspace(-0.2, 0.2, seeds)
                uniform = ("thickness", "slant")[place]

                def make(seed, more=more, noise=noise, uniform=uniform):
                    top = uniform if follows else "label"
                    value = float(0.4 + more + noise[seed])
                    return simulated(seed, thickness=value, leading=top, **checks)

                write(folder, Cell(arm, data), range(seeds), make)
    return [
        Block(name, tuple(Cell(arm, data) for arm in ("T", "G") for data in pair), seeds)
        for name, pair in zip(("confirmatory", "resampled", "sprites"), PAIRS, strict=True)
    ]


def judged(folder, every):
    rows = numbers.read_rows(every, folder)
    return rows, judge_h1(every, rows)


def test_a_planted_interaction_is_confirmed(tmp_path):
    rows, h1 = judged(tmp_path, study(tmp_path, effect=0.3))
    assert len(rows) == 12 * 12
    assert h1.verdict.outcome == "confirmed"
    assert h1.following == 1.0
    found = h1.contrasts["re-inked", "I_T"].contrast
    assert found.mean == pytest.approx(0.3, abs=0.03)
    assert found.num_seeds == 12
    # Two primaries: Holm's p is the smaller of twice the one and so on, at the least of 2^12 flips.
    assert set(h1.adjusted) == {"I_T", "share_T"}
    assert max(h1.adjusted.values()) == pytest.approx(4 / 2**12)


def test_where_there_is_none_it_is_refuted(tmp_path):
    every = study(tmp_path, effect=0.0, follows=False)
    _, h1 = judged(tmp_path, every)
    assert h1.verdict.outcome == "refuted"
    text = "\n".join(report(every, numbers.read_rows(every, tmp_path)))
    assert "**H1: refuted (in this model class).** The leading code of T follows" in text
    assert "in 0 % of the runs" in text


def test_an_interaction_that_the_code_does_not_follow_is_undecided(tmp_path):
    _, h1 = judged(tmp_path, study(tmp_path, effect=0.3, follows=False))
    assert h1.verdict.outcome == "undecided"
    assert h1.verdict.more_seeds


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ({"posterior_ks": [0.01, 0.06]}, "distance of aggregate posterior to prior 0.060"),
        ({"mi": 0.9}, "bound on the information 0.900 nats"),
        ({"set_measured": {"thickness": 0.94, "slant": 0.99}}, "set and measured factor 0.940"),
        ({"factor_ks": {"thickness": 0.04}}, "distance of the factor to its law 0.040"),
    ],
)
def test_a_check_that_fails_makes_a_family_void(tmp_path, checks, words):
    every = study(tmp_path, effect=0.0)
    # One run of one cell is enough; of the data that the check is of.
    data = "D2" if "factor_ks" in checks else "D4"
    write(tmp_path, Cell("G", data), [7], lambda seed: simulated(seed, thickness=0.5, **checks))
    rows, h1 = judged(tmp_path, every)
    assert h1.verdict.outcome == "undecided"
    (reason,) = h1.verdict.void
    assert words in reason
    text = "\n".join(report(every, rows))
    assert f"- void: {reason}" in text
    assert text.count(reason) == 1
    family = reason.partition(":")[0]
    assert f"| H1, the poster's | undecided (checks fail on {family}) |" in text
    assert h1.verdict.more_seeds
    assert "seeds are to be added once" in text
    lines = [line for line in text.splitlines() if line.startswith(f"| G on {data}, 2 |")]
    assert [line.rpartition(" of ")[0][-1] for line in lines] == ["1"]
    assert (" (1) | " in lines[0]) == ("mi" in checks)


def test_the_bound_beside_a_category_is_shown_alone(tmp_path):
    def make(seed):
        found = simulated(seed)
        found["terms"] |= {"mi/d": 1.75, "mi/c": 1.25}
        return found

    cell = Cell("I", "D3")
    write(tmp_path, cell, range(2), make)
    text = checks_table(numbers.cell_rows(cell, tmp_path))
    assert "| 3.00 (0); of c alone 1.25 | 0 of 2 |" in text


def test_missing_seeds_are_counted_and_nothing_is_judged(tmp_path):
    every = study(tmp_path, effect=0.3)
    gone = tmp_path / "G-D4-lambda2-seeds0-9" / "seed3.json"
    gone.unlink()
    rows, h1 = judged(tmp_path, every)
    assert h1.verdict is None
    assert h1.missing == {"re-inked": 1, "resampled": 0, "sprites": 0}
    # Of what is there, the seeds that all four cells have.
    assert h1.contrasts["re-inked", "I_T"].contrast.num_seeds == 11
    text = "\n".join(report(every, rows))
    assert "**H1: not judged yet (not done: 1 runs on re-inked).**" in text
    assert "G-D4-lambda2 11" in text
    assert "T-D4-lambda2 12" in text


def test_seeds_beyond_the_plan_have_to_be_there_all(tmp_path):
    every = study(tmp_path, effect=0.0)
    write(tmp_path, Cell("T", "D3"), [12, 13], simulated)
    _, h1 = judged(tmp_path, every)
    assert h1.verdict is None
    assert h1.missing["re-inked"] == 4 * MOST_SEEDS - 4 * 12 - 2


def test_seeds_that_were_added_are_said(tmp_path):
    every = study(tmp_path, effect=0.0)
    write(tmp_path, Cell("T", "D6a"), range(12), lambda s: simulated(s, thickness=0.9))
    rows, h1 = judged(tmp_path, every)
    assert (h1.verdict.outcome, h1.verdict.more_seeds) == ("undecided", True)
    for arm in ("T", "G"):
        for data in ("D3", "D4"):
            write(tmp_path, Cell(arm, data), range(12, MOST_SEEDS), simulated)
    rows, h1 = judged(tmp_path, every)
    assert (h1.verdict.outcome, h1.verdict.more_seeds) == ("undecided", False)
    assert "- seeds were added once, to 80 on re-inked digits" in "\n".join(report(every, rows))


def test_a_measure_that_a_run_has_not_is_said(tmp_path):
    every = study(tmp_path, effect=0.0)
    write(tmp_path, Cell("T", "D3"), [5], lambda s: simulated(s, thickness=0.0, slant=0.0))
    rows, h1 = judged(tmp_path, every)
    assert h1.contrasts["re-inked", "share_T"].contrast is None
    assert "not defined in 1 runs, T-D3-lambda2-seeds0-9" in "\n".join(report(every, rows))


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


def secondary(rows):
    return {h.name[:2]: (h, h.find(rows)) for h in SECONDARY}


def outcomes(folder, cells, seeds=8):
    rows = [row for cell in cells for row in numbers.cell_rows(cell, folder)]
    every = [Block("all", tuple(c for b in blocks() for c in b.cells), seeds)]
    return {h.name[:2]: h.outcome(h.find(rows), every, rows) for h in SECONDARY}, rows


def test_secondary_hypotheses(tmp_path):
    rng = np.random.default_rng(0)

    def make(dci=0.5, **values):
        return lambda seed: simulated(seed, dci=float(dci + rng.normal(0, 0.02)), **values)

    levels = {"G-full": 0.2, "L-full": 0.5, "B-full": 0.6, "T-full": 0.7, "R-full": 0.4}
    cells = {Cell(arm, "D3"): make(dci) for arm, dci in levels.items()}
    cells |= {Cell("G-full", "D3", 0.0): make(0.2), Cell("G", "D3", 0.0): make(0.4)}
    slant = {"thickness": 0.3, "slant": 0.6}
    cells |= {Cell(arm, data): make(**slant) for arm in "GPT" for data in ("D3", "D4")}
    cells |= {Cell(arm, "D5"): make(thickness=0.6, slant=0.3) for arm in "GPT"}
    cells[Cell("I", "D3")] = make(thickness=0.5, slant=0.8)
    for cell, each in cells.items():
        # The same value in every run has an interval of no length.
        write(tmp_path, cell, range(8), each)
    found, rows = outcomes(tmp_path, cells)
    assert found["H2"] == found["H3"] == found["H6"] == "supported"
    # The label's stays as it is.
    assert found["H4"] == "not supported (1 of 2 comparisons hold)"
    style = secondary(rows)["H4"][1][0]
    text = "\n".join(report(blocks(), rows))
    assert "R² below 0.05: L-full-D3-lambda2 0 of 8, G-full-D3-lambda2 0 of 8, " in text
    weak = next(row for row in rows if row["arm"] == "L-full")
    lower = [{**row, "r2/S": 0.04} if row is weak else row for row in rows]
    assert "R² below 0.05: L-full-D3-lambda2 1 of 8, G-full-D3" in "\n".join(
        report(blocks(), lower)
    )
    assert style.mean.mean == pytest.approx(0.4)
    assert secondary(rows)["H2"][1][3].mean.mean == pytest.approx(-0.3, abs=0.05)
    assert secondary(rows)["H2"][1][0].p == pytest.approx(4 * 2 / 2**8)
    # Turned the other way.
    write(tmp_path, Cell("R-full", "D3"), range(8), make(0.9))
    write(tmp_path, Cell("P", "D5"), range(8), make(thickness=0.3, slant=0.6))
    found, _ = outcomes(tmp_path, cells)
    assert found["H2"] == "not supported (3 of 4 comparisons hold)"
    assert found["H3"] == "not supported (8 of 9 comparisons hold)"
    found, _ = outcomes(tmp_path, [Cell("G", "D3")])
    assert found["H2"] == "not yet (40 runs are not done)"
    assert found["H3"] == "not yet (64 runs are not done)"
    found, _ = outcomes(tmp_path, cells, seeds=9)
    assert found["H6"] == "not yet (4 runs are not done)"


def test_a_check_that_fails_makes_a_secondary_hypothesis_void(tmp_path):
    cells = [Cell(arm, "D3", weight) for arm in ("G", "G-full") for weight in (0.0, 2.0)]
    for cell in cells:
        # Without the term no information is asked for.
        mi = 0.1 if cell.mi_weight == 0 else 3.0
        dci = 0.2 if cell.arm == "G-full" else 0.6
        write(tmp_path, cell, range(8), lambda s, mi=mi, dci=dci: simulated(s, mi=mi, dci=dci))
    assert outcomes(tmp_path, cells)[0]["H6"] == "supported"
    write(tmp_path, cells[0], [3], lambda s: simulated(s, dci=0.6, posterior_ks=[0.06, 0.01]))
    text = "void (checks fail in 1 of 32 runs; 2 of 2 comparisons hold)"
    assert outcomes(tmp_path, cells)[0]["H6"] == text
    write(tmp_path, cells[0], [3], lambda s: simulated(s, dci=0.6))
    write(tmp_path, cells[1], [3], lambda s: simulated(s, dci=0.6, mi=0.9))
    assert outcomes(tmp_path, cells)[0]["H6"] == text


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
            config, _ = parse_run([*run.arguments, "--out", "x"], "")
            assert config.data.data == "mnist"
    planned = 480 + 80 + 60 + 80 + 180 + 60 + 80 + (80 + 30) + 160
    assert seeds == planned + 40 + 120 + 240  # of what was looked at again
    assert len(measured) == 30
    assert {run.module for run in measured} == {"experiments.open_question.jobs.measure_codes"}


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

    monkeypatch.setattr(_question_report, "draw", draw)
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


def test_a_secondary_hypothesis_does_not_wait_for_seeds_that_were_added(tmp_path):
    cells = [Cell(arm, data) for arm in "GPT" for data in ("D3", "D4", "D5")]
    for cell in cells:
        write(tmp_path, cell, range(8), simulated)
    every = [Block("size", tuple(cells), 8)]
    size = next(hypothesis for hypothesis in SECONDARY if hypothesis.name[:2] == "H3")
    for adds, word in (("fresh", "not supported"), ("rule", "not yet (4 runs")):
        more = Block("more", (Cell("P", "D3"),), 12, adds=adds)
        rows = numbers.read_rows([*every, more], tmp_path)
        assert size.outcome(size.find(rows), [*every, more], rows).startswith(word)


def test_every_seed_that_was_added_is_in_the_table_of_interactions():
    shown = {cell for again in INTERACTIONS for cell in again.cells}
    for block in blocks(add_seeds=True):
        if block.adds != "plan":
            assert set(block.cells) <= shown, block.name
            for cell in block.cells:
                assert planned_seeds(blocks(), cell, "plan") < block.seeds
    for again in INTERACTIONS:  # one number of planned seeds for all four cells
        assert len({planned_seeds(blocks(), cell, "plan") for cell in again.cells}) == 1


def test_the_rule_waits_for_the_seeds_that_it_adds(tmp_path):
    every = study(tmp_path, effect=0.0)
    added = Block("added-seeds", ADDED, MOST_SEEDS, adds="rule")
    rows = numbers.read_rows(every, tmp_path)
    assert judge_h1(every, rows).verdict is not None
    asked = judge_h1([*every, added], rows)
    assert asked.verdict is None
    assert asked.missing["re-inked"] == 4 * (MOST_SEEDS - 12)


def test_seeds_of_another_form_of_the_term_are_told_apart(tmp_path):
    plain, scaled = Cell("I", "D3"), Cell("I", "D3", code_scale=1.0)
    write(tmp_path, scaled, range(10), simulated)
    rows = numbers.read_rows([Block("category", (plain, scaled), 10)], tmp_path)
    assert seeds_of(rows) == {scaled.name: set(range(10))}
    assert not list(scaled.runs(10, known=range(10)))
    assert [run.name for run in scaled.runs(20, known=range(10))] == [f"{scaled.name}-seeds10-19"]
    assert len(list(scaled.runs(10, known=range(9)))) == 1  # the last is lacking


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
    monkeypatch.setattr(open_question, "run_stages", lambda *_: run.append(1))
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


def test_flags_choose_what_is_run(tmp_path, monkeypatch):
    todo = []
    monkeypatch.setattr(
        open_question, "run_stages", lambda config, folder, stages, write: todo.extend(stages) or 0
    )
    out = ["--out", str(tmp_path)]
    assert (
        open_question.main([*out, "--blocks", "added-seeds", "--add-seeds", "--seeds", "50"]) == 0
    )
    assert [len(stage) for stage in todo] == [2, 4 * 5, 0]
    todo.clear()
    assert open_question.main([*out, "--blocks", "main", "--seeds", "2"]) == 0
    assert [len(stage) for stage in todo] == [0, 12, 12]


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


def test_codes_are_drawn_in_their_order_whatever_that_of_the_columns(monkeypatch, tmp_path):
    rows = [numbers._arm_row(Cell("T", "D3"), simulated(0), "run")]
    names = ("c[0]", "z[10]", "z[2]", "c[1]")
    told = {f"mi/{n}/{f}": 0.1 for n in names for f in ("thickness", "slant", "width", "label")}
    main = {**rows[0], **told, "data": "mnist", "channel": "mean", "run": "main-x-seed0"}
    drawn = {}
    monkeypatch.setattr(plotting, "mi_matrices", lambda found, **settings: drawn.update(settings))
    draw([main], tmp_path)
    assert drawn["codes"] == ["c[0]", "c[1]", "z[2]", "z[10]"]


def test_the_program_takes_a_table_of_earlier_runs(tmp_path, capsys, monkeypatch):
    study(tmp_path, effect=0.0, seeds=40)
    write_table(numbers.read_rows(blocks(), tmp_path), tmp_path, "earlier.csv")
    earlier, other = str(tmp_path / "earlier.csv"), str(tmp_path / "other")
    stages_of = []

    def run_stages(config, folder, todo, write):
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


def test_the_published_report_is_what_the_published_table_says():
    published = Path(__file__).parents[1] / "docs" / "results"
    rows = read_table(published / "open_question.csv")
    text = "\n\n".join(part for part in report(blocks(add_seeds=True), rows) if part)
    assert (published / "open_question.md").read_text().startswith(f"{text}\n\n![")


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
