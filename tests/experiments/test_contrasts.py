"""The interaction of simulated studies: a planted one is found, none is found at its rate."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from experiments.contrasts import holm, interaction, sign_flip_test
from experiments.estimates import standard_error, student_reach

ARMS, DATA = ("T", "G"), ("D3", "D4")


def study(effect, seed, *, num_seeds=40, spread=0.07):
    """A table with effects of prior, law and seed, and an interaction of `effect` nats."""
    rng = np.random.default_rng(seed)
    rows = []
    for run in range(num_seeds):
        shared = 0.1 * rng.normal()
        for arm, data in itertools.product(ARMS, DATA):
            y = 0.8 + shared + 0.3 * (arm == "T") - 0.2 * (data == "D4") + spread * rng.normal()
            y += effect * (arm == "T" and data == "D3")
            rows.append({"prior": arm, "data": data, "seed": run, "mi": y})
    return rows


def test_the_formula_and_its_interval_by_hand():
    rows = study(0.1, 0, num_seeds=5)
    found = interaction(rows[::-1], "mi")
    y = {(r["prior"], r["data"], r["seed"]): r["mi"] for r in rows}
    each = [
        y["T", "D3", s] - y["T", "D4", s] - (y["G", "D3", s] - y["G", "D4", s]) for s in range(5)
    ]
    np.testing.assert_allclose(found.per_seed, each)
    known = stats.ttest_1samp(each, 0.0)
    assert found.num_seeds == 5
    assert found.mean == pytest.approx(np.mean(each))
    for level in (0.9, 0.95):
        assert found.interval(level) == pytest.approx(known.confidence_interval(level))
    welch = stats.ttest_ind(found.treated, found.control, equal_var=False)
    assert found.welch_p == welch.pvalue
    low, high = found.interval()
    assert str(found) == f"{found.mean:.3f} [{low:.3f}, {high:.3f}], 5 seeds"


def test_rows_of_other_arms_and_other_names():
    rows = [dict(row, lam=0) for row in study(0.1, 0, num_seeds=6)]
    known = interaction(rows, "mi")
    rows += [dict(rows[0], prior="P"), dict(rows[0], data="D0")]
    assert interaction(rows, "mi").mean == known.mean
    turned = interaction(rows, "mi", arms=("G", "T"))
    assert turned.mean == pytest.approx(-known.mean)
    turned = interaction(rows, "mi", data=("D4", "D3"))
    assert turned.mean == pytest.approx(-known.mean)
    renamed = [{"arm": r["prior"], "law": r["data"], "run": r["seed"], "mi": r["mi"]} for r in rows]
    assert interaction(renamed, "mi", columns=("arm", "law", "run")).mean == known.mean


def test_no_run_may_be_lacking_doubled_or_broken():
    rows = study(0.1, 0, num_seeds=3)
    with pytest.raises(ValueError, match="found none for prior T, data D3, seed 0: finish"):
        interaction(rows[1:], "mi")
    with pytest.raises(ValueError, match="one run for prior G, data D4, seed 2, found two: fix"):
        interaction([*rows, rows[-1]], "mi")
    broken = [*rows[:-1], rows[-1] | {"mi": math.nan}]
    with pytest.raises(ValueError, match="finite mi for prior G, data D4, seed 2, found nan"):
        interaction(broken, "mi")
    with pytest.raises(ValueError, match="at least two seeds"):
        interaction(rows[:4], "mi")
    with pytest.raises(ValueError, match="level must lie in"):
        interaction(rows, "mi").interval(1.0)


def test_sign_flips_are_enumerated_or_drawn():
    differences = np.array([0.3, 0.5, -0.1, 0.7, 0.2])
    signs = np.array(list(itertools.product((1, -1), repeat=5)))
    known = np.mean(np.abs(signs @ differences) >= differences.sum() - 1e-12)
    assert sign_flip_test(differences) == known == 2 / 32 * 2  # all positive, or all but -.1
    assert sign_flip_test(np.array([1.0, 1.0])) == 0.5
    # Up to 16 pairs all flips are there, whatever the seed.
    some = np.random.default_rng(0).normal(0.3, 1, 14)
    signs = np.array(list(itertools.product((1, -1), repeat=14)))
    known = np.mean(np.abs(signs @ some) >= abs(some.sum()) - 1e-12)
    assert {sign_flip_test(some, seed=seed) for seed in range(3)} == {known}
    assert sign_flip_test(np.ones(16)) == 2 / 2**16


def test_drawn_sign_flips_come_near_the_enumerated_ones():
    values = np.random.default_rng(1).normal(0.2, 1, 14)
    exact = sign_flip_test(values)
    drawn = [sign_flip_test(values, num_permutations=5_000, seed=seed) for seed in range(2)]
    error = math.sqrt(exact * (1 - exact) / 5_000)
    assert 0.02 < exact < 0.5
    assert drawn[0] != drawn[1]
    assert all(abs(p - exact) < 5 * error for p in drawn)
    assert sign_flip_test(values, num_permutations=5_000) == drawn[0]
    # The given signs count as one of the flips: no p-value is 0.
    assert sign_flip_test(np.ones(40), num_permutations=99) == 1 / 100


def test_sign_flips_are_two_sided_and_count_ties():
    assert sign_flip_test([0.1, 0.2, 0.3]) == sign_flip_test([-0.1, -0.2, -0.3]) == 2 / 8
    # Six other flips give a distance of 0.7, which floating point rounds in several ways.
    assert sign_flip_test([0.1, 0.2, -0.3, 0.7]) == 10 / 16


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([0.1, math.nan], r"found 1 that are not finite in shape \(2,\). Find the runs"),
        ([math.inf, 0.1], "found 1 that are not finite"),
        ([], r"at least one, found 0 that are not finite in shape \(0,\)"),
        ([[0.1, 0.2]], r"expected finite numbers of shape \(pairs,\).*in shape \(1, 2\)"),
        (0.1, r"in shape \(\)"),
    ],
)
def test_sign_flips_are_of_finite_differences(differences, words):
    with pytest.raises(ValueError, match=words):
        sign_flip_test(differences)
    assert sign_flip_test([1, 2]) == sign_flip_test(np.array([1.0, 2.0])) == 0.5


NUMBER = 300
QUICK = {"num_permutations": 999}


def test_a_planted_interaction_is_found_and_covered():
    found = [interaction(study(0.15, seed), "mi", **QUICK) for seed in range(NUMBER)]
    for level in (0.90, 0.95):
        covered = np.mean([low < 0.15 < high for low, high in (f.interval(level) for f in found)])
        assert abs(covered - level) < 4 * math.sqrt(level * (1 - level) / NUMBER)
    # 0.15 nat is 6.8 standard errors of 0.14 / sqrt(40).
    assert np.mean([f.permutation_p < 0.05 for f in found]) > 0.99
    assert np.mean([f.welch_p < 0.05 for f in found]) > 0.99
    mean, error = np.mean([f.mean for f in found]), 0.14 / math.sqrt(40 * NUMBER)
    assert abs(mean - 0.15) < 4 * error


def test_none_is_found_at_the_nominal_rate():
    found = [interaction(study(0.0, seed), "mi", **QUICK) for seed in range(NUMBER)]
    near = 4 * math.sqrt(0.05 * 0.95 / NUMBER)
    assert abs(np.mean([f.permutation_p < 0.05 for f in found]) - 0.05) < near
    assert abs(np.mean([f.welch_p < 0.05 for f in found]) - 0.05) < near
    # Not only there: p-values are uniform.
    assert stats.kstest([f.permutation_p for f in found], "uniform").pvalue > 1e-3


def test_forty_seeds_detect_what_the_plan_says():
    """.074 nat at a spread of .08 in four cells of five, or a little more."""
    found = [interaction(study(0.074, s, spread=0.08), "mi", **QUICK) for s in range(NUMBER)]
    power = np.mean([f.permutation_p < 0.05 for f in found])
    assert 0.7 < power < 0.92


def test_holm_by_hand():
    assert holm({"a": 0.04, "b": 0.01}) == {"a": 0.04, "b": 0.02}
    assert holm({"a": 0.03, "b": 0.02}) == {"a": 0.04, "b": 0.04}  # never below a smaller one's
    adjusted = holm({"a": 0.01, "b": 0.4, "c": 0.5})
    assert list(adjusted) == ["a", "b", "c"]
    assert list(adjusted.values()) == pytest.approx([0.03, 0.8, 0.8])
    assert holm({"a": 0.9, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    with pytest.raises(ValueError, match=r"numbers from 0 to 1, found {'b': nan}"):
        holm({"a": 0.1, "b": math.nan})


def test_holm_keeps_the_rate_of_any_false_rejection():
    rng = np.random.default_rng(0)
    both = rng.uniform(size=(4000, 2))
    wrong = np.mean([min(holm({"I": p, "share": q}).values()) <= 0.05 for p, q in both])
    assert abs(wrong - (1 - 0.975**2)) < 4 * math.sqrt(0.05 / 4000)


def test_students_interval_is_scipys():
    values = np.random.default_rng(3).normal(size=7)
    low, high = stats.t.interval(0.9, 6, values.mean(), stats.sem(values))
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert student_reach(values, 0.9) == pytest.approx((high - low) / 2)
    assert math.isnan(standard_error([1.0]))
    assert math.isnan(student_reach([1.0]))
    with pytest.raises(ValueError, match="level must lie in"):
        student_reach(values, 1.0)
