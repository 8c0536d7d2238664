"""The rules of H1 and of the secondary hypotheses, on folders of simulated runs."""

import numpy as np
import pytest
from folders import judged, study, write
from simulated import simulated

from experiments.open_question import rows as numbers
from experiments.open_question.design.cells import (
    ADDED,
    MOST_SEEDS,
    Block,
    Cell,
    blocks,
)
from experiments.open_question.report.document import report
from experiments.open_question.rules.h1 import judge_h1
from experiments.open_question.rules.secondary import SECONDARY


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


@pytest.mark.slow
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


def test_the_rule_waits_for_the_seeds_that_it_adds(tmp_path):
    every = study(tmp_path, effect=0.0)
    added = Block("added-seeds", ADDED, MOST_SEEDS, adds="rule")
    rows = numbers.read_rows(every, tmp_path)
    assert judge_h1(every, rows).verdict is not None
    asked = judge_h1([*every, added], rows)
    assert asked.verdict is None
    assert asked.missing["re-inked"] == 4 * (MOST_SEEDS - 12)
