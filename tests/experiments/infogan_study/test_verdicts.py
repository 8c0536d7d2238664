"""The six verdicts of simulated studies: planted effects, none, and the rules at their edges."""

import itertools
import math

import numpy as np
import pytest
from simulated_table import study

from experiments.contrasts import holm, weighted_contrast
from experiments.estimates import Mean
from experiments.infogan_study.design.cells import FACTORIAL, INFOGAN, LAWS, Cell
from experiments.infogan_study.rows import cell_of, replicates
from experiments.infogan_study.rules import verdict
from experiments.infogan_study.rules.checks import failures
from experiments.infogan_study.rules.properties import (
    CONFIRMATORY,
    guess,
    inside,
    interactions,
    main_effects,
    removals,
)
from experiments.infogan_study.rules.verdict import estimate, judge, judge_guess, results

NAMES = [contrast.name for contrast in CONFIRMATORY]


def test_the_contrasts_are_those_of_the_rules():
    sizes = {c.name: sorted(np.round(list(c.weights.values()), 6)) for c in CONFIRMATORY}
    assert len(FACTORIAL) == 24
    for name in NAMES[:3]:
        assert sizes[name] == sorted([round(-1 / 12, 6)] * 12 + [round(1 / 12, 6)] * 12)
    for name in NAMES[3:5]:
        assert sizes[name] == [-0.125] * 8 + [0.125] * 8
    assert sizes[NAMES[5]] == [-0.25] * 8 + [0.25] * 8
    assert [c.margin for c in CONFIRMATORY] == [0.25, 0.10, 0.10, 0.10, 0.10, 0.10]
    every = [*CONFIRMATORY, *inside("gan"), *inside("vae"), *interactions(), *removals()]
    assert all(abs(sum(c.weights.values())) < 1e-12 for c in every)
    assert len(interactions()) == 9
    assert len(inside("gan")) == 5  # all but the training
    assert all(c.weights[INFOGAN] == 1 for c in removals())
    assert {cell.term for cell in LAWS} == {"infogan", "learnt"}


@pytest.mark.parametrize(
    ("effect", "name", "size"),
    [
        (lambda c: 0.6 * (c.training == "gan"), NAMES[0], 0.6),
        (lambda c: -0.4 * c.category, NAMES[1], -0.4),
        (lambda c: 0.4 * (c.prior == "uniform"), NAMES[2], 0.4),
        (lambda c: 0.4 * (c.term == "infogan"), NAMES[3], 0.4),
        (lambda c: 0.4 * (c.term == "learnt"), NAMES[4], 0.4),
    ],
)
def test_a_planted_main_effect_is_told_and_no_other(effect, name, size):
    rows = study(1, effect=effect, spread=0.05, shared=0.05)
    told = {result.contrast.name: result for result in results(rows)}
    assert list(told) == NAMES
    expected = "leads to alignment" if size > 0 else "works against alignment"
    assert told[name].words == expected
    assert told[name].mean.mean == pytest.approx(size, abs=0.06)
    assert told[name].model.value == pytest.approx(told[name].mean.mean)
    others = [result.words for other, result in told.items() if other != name]
    assert others == ["matters less than the margin"] * 5
    assert judge_guess(told[NAMES[5]], rows) == "refuted (in this class of models)"


@pytest.mark.parametrize(
    ("planted", "word"),
    [(0.5, "confirmed"), (-0.5, "refuted (in this class of models)")],
)
def test_a_planted_interaction_of_prior_and_law_is_the_posters_guess(planted, word):
    rows = study(2, guess=planted, spread=0.05)
    *others, last = results(rows)
    assert last.mean.mean == pytest.approx(planted, abs=0.06)
    assert judge_guess(last, rows) == word
    assert estimate(rows, guess("gan")).mean == pytest.approx(planted, abs=0.1)
    # By hand, of the rows of one seed.
    y = {cell_of(r): (r["I_T"], r["I_S"]) for r in rows if r["seed"] == 3}
    sums = []
    for (training, category), term in itertools.product(
        (("gan", True), ("vae", False)), ("infogan", "learnt")
    ):
        of = {
            (p, d): y[Cell(training, category, p, term, d)]
            for p in ("uniform", "gaussian")
            for d in ("D3", "D4")
        }
        thickness = of["uniform", "D3"][0] - of["uniform", "D4"][0]
        thickness -= of["gaussian", "D3"][0] - of["gaussian", "D4"][0]
        slant = of["uniform", "D4"][1] - of["uniform", "D3"][1]
        slant -= of["gaussian", "D4"][1] - of["gaussian", "D3"][1]
        sums.append((thickness + slant) / 2)
    assert last.mean.values[3] == pytest.approx(np.mean(sums))
    assert {result.outcome for result in others} <= {"matters less than the margin", "undecided"}


def test_a_planted_interaction_of_two_properties_is_told():
    rows = study(
        3, effect=lambda c: 0.6 * (c.training == "gan" and c.prior == "uniform"), spread=0.05
    )
    by_name = {c.name: estimate(rows, c) for c in interactions()}
    own = by_name.pop("adversarial training × the uniform prior")
    assert own.mean == pytest.approx(0.6, abs=0.06)
    assert all(abs(mean.mean) < 0.06 for mean in by_name.values())
    alone = {t: {c.name: estimate(rows, c) for c in inside(t)} for t in ("gan", "vae")}
    assert alone["gan"]["the uniform prior"].mean == pytest.approx(0.6, abs=0.06)
    assert alone["vae"]["the uniform prior"].mean == pytest.approx(0.0, abs=0.06)


def test_without_an_effect_a_false_verdict_comes_at_the_nominal_rate():
    """With a margin of 0, which no interval lies inside, every rejection is a verdict."""
    number, alpha = 150, 0.05
    cells = list(dict.fromkeys((*FACTORIAL, *LAWS)))
    singles, families = np.zeros(len(CONFIRMATORY)), 0
    for seed in range(number):
        rng = np.random.default_rng(seed)
        moved = {"gan": 0.2 * rng.normal(size=12), "vae": 0.2 * rng.normal(size=12)}
        values = {c: 1 + moved[c.training] + 0.3 * rng.normal(size=12) for c in cells}
        table = {cell: dict(enumerate(each)) for cell, each in values.items()}
        told = {c.name: weighted_contrast(table, c.weights) for c in CONFIRMATORY}
        singles += [mean.p_value < alpha for mean in told.values()]
        adjusted = holm({name: mean.p_value for name, mean in told.items()})
        families += any(judge(told[n], adjusted[n], 0.0, alpha) == "matters" for n in told)
    near = 4 * math.sqrt(alpha * (1 - alpha) / number)
    assert np.abs(singles / number - alpha).max() < near
    assert abs(families / number - alpha) < near  # the six are nearly independent


def test_holm_by_hand():
    p_values = dict(zip("abcdef", (0.001, 0.04, 0.011, 0.009, 0.5, 0.3), strict=True))
    assert holm(p_values) == pytest.approx(
        {"a": 0.006, "d": 0.045, "c": 0.045, "b": 0.12, "f": 0.6, "e": 0.6}
    )


def mean_around(centre, reach, number=12):
    """Values whose 90 % interval is the centre and this reach."""
    values = np.linspace(-1, 1, number)
    scale = reach / Mean(tuple(values)).interval(0.90)[1]
    return Mean(tuple(centre + scale * values))


@pytest.mark.parametrize(
    ("centre", "reach", "adjusted", "outcome"),
    [
        (0.20, 0.05, 0.049, "matters"),
        (-0.20, 0.05, 0.049, "matters"),
        (0.20, 0.05, 0.05, "undecided"),  # below the level, not at it
        (0.00, 0.09, 0.9, "matters less than the margin"),
        (0.06, 0.03, 0.001, "matters less than the margin"),  # however sure
        (0.06, 0.05, 0.001, "matters"),  # a small effect that may be beyond the margin
        (0.06, 0.05, 0.2, "undecided"),
        (0.00, 0.11, 0.9, "undecided"),
    ],
)
def test_the_verdict_at_its_edges(centre, reach, adjusted, outcome):
    assert judge(mean_around(centre, reach), adjusted, 0.10) == outcome


def test_an_interval_that_ends_at_the_margin_is_not_inside():
    mean = mean_around(0.0, 0.10)
    high = mean.interval(0.90)[1]
    assert judge(mean, 0.9, high) == "undecided"
    assert judge(mean, 0.9, math.nextafter(high, 1)) == "matters less than the margin"


def test_levels_of_one_look_and_of_two():
    assert verdict.level(12) == verdict.level(24) == 0.05
    assert [verdict.level(n, extends=True) for n in (10, 12, 24)] == [0.01, 0.01, 0.04]
    with pytest.raises(ValueError, match="at least two seeds, found 1"):
        judge(Mean((1.0,)), 0.01, 0.1)


def test_only_whole_replicates_count():
    rows = study(4, num_seeds=3)
    lacking = [r for r in rows if not (r["seed"] == 1 and cell_of(r) == INFOGAN)]
    assert {r["seed"] for r in replicates(lacking)} == {0, 2}
    assert all(len(result.mean.values) == 2 for result in results(lacking))
    assert results([r for r in rows if r["seed"] == 0]) == []
    assert results([]) == []
    pre_check = [{**r, "seed": 100} for r in rows if r["seed"] == 0]
    assert len(replicates([*rows, *pre_check])) == 32 * 3


def test_two_failing_runs_of_a_cell_make_its_contrasts_void_and_are_left_out_beside():
    rows = study(5, spread=0.05, shared=0.0)
    cell = Cell("gan", False, "gaussian", "off")
    for row in rows:
        if cell_of(row) == cell and row["seed"] in (3, 8):
            row |= {"frechet": 300.0, "alignment": 40.0}
    assert [failures(r) for r in rows if failures(r)] == [["Fréchet distance 300.00"]] * 2
    told = {result.contrast.name: result for result in results(rows)}
    assert [name for name, result in told.items() if result.void] == NAMES[:5]  # no law cell
    assert told[NAMES[0]].void == (f"{cell.name}: 2 of 12 runs fail (Fréchet distance)",)
    assert told[NAMES[0]].words.startswith("void (")
    again = results(rows, without_failing=True)
    assert [result.contrast.name for result in again] == NAMES
    assert all(result.words == "matters less than the margin" for result in again)
    assert all(abs(result.model.value) < 0.1 for result in again)
    rows = [{**r, "frechet": 300.0} if cell_of(r) == cell else r for r in rows]
    again = results(rows, without_failing=True)  # of this cell nothing is left
    assert [result.contrast.name for result in again] == NAMES[5:]


def test_a_run_without_the_measure_leaves_its_contrasts_undefined():
    rows = study(6, guess=0.2)
    rows[0] |= {"alignment": None, "unmeasured": 1.0}
    (left,) = results(rows)
    assert left.contrast.name == NAMES[5]
    assert left.adjusted == pytest.approx(6 * left.mean.p_value)  # still one of six
    assert estimate(rows, main_effects()[0]).values == ()
