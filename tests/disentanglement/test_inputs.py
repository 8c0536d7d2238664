"""What may be given: data frames, tensors of any type, labels; and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.open_question.jobs.carried_factors import following
from pyro_mivae.disentanglement import (
    bin_columns,
    ceiling,
    dci,
    evaluate,
    explicitness,
    mi_matrix,
    modularity,
    mutual_information_gap,
    traversal_effects,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


MISSING = {
    "array": lambda label: np.where(label == 1, np.nan, label),
    "tensor": lambda label: torch.tensor(np.where(label == 1, np.nan, label)),
    "objects": lambda label: np.array(["box", None, "oval"], dtype=object)[label],
    "list": lambda label: [("box", float("nan"), "oval")[i] for i in label],
    "series": lambda label: pd.Series(label, dtype="Int64").where(label != 1),
    "dates": lambda label: np.array(["2001", "NaT", "2003"], dtype="datetime64[Y]")[label],
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_labels_are_none_of_their_own(kind, rng):
    label = np.arange(60) % 3
    codes, given = rng.normal(size=(60, 1)), MISSING[kind](label)
    with pytest.raises(ValueError, match=r"factors\['shape'\]: expected a label for every point"):
        mi_matrix(codes, {"shape": given}, nominal=["shape"])
    with pytest.raises(ValueError, match=r"within: .*found NaN or None in 20 of 60 rows: drop"):
        mi_matrix(codes, codes, within=given)


def test_data_frames_are_factors_by_name(rng):
    label = np.array(["oval", "box", "heart"])[rng.integers(0, 3, 200)]
    columns = {"slant": rng.normal(size=200), "shape": label}
    codes = rng.normal(size=(200, 2)) + (label == "box")[:, None]
    known = mi_matrix(codes, columns, nominal=["shape"])
    frame = pd.DataFrame(columns, index=np.arange(200)[::-1])
    found = mi_matrix(pd.DataFrame(codes), frame, nominal="shape")
    assert found.names == ("slant", "shape")
    np.testing.assert_array_equal(found.values, known.values)
    best = ceiling(frame, nominal="shape").entropies
    np.testing.assert_array_equal(best, known.entropies)
    with pytest.raises(ValueError, match=r"some of the factors \['shape', 'slant'\], found 'hue'"):
        mi_matrix(codes, frame, nominal="hue")


def test_strings_need_to_be_named_as_labels(rng):
    codes, label = rng.normal(size=(60, 1)), np.array(["oval", "box"])[np.arange(60) % 2]
    with pytest.raises(ValueError, match=r"factors\['shape'\]: .*name it in nominal"):
        mi_matrix(codes, {"shape": label})
    with pytest.raises(ValueError, match=r"factors: .*give it by name and name it in nominal"):
        mi_matrix(codes, label[:, None])
    with pytest.raises(ValueError, match=r"codes: expected numbers, found others .*'oval'"):
        mi_matrix(label[:, None], codes)


@pytest.mark.parametrize("binning", ["rank", "width"])
def test_bins_of_tensors_and_of_what_is_no_number(binning, rng):
    values = rng.normal(size=(50, 2)).astype(np.float32)
    known = bin_columns(values, binning=binning)
    tensor = torch.tensor(values, requires_grad=True)
    np.testing.assert_array_equal(bin_columns(tensor, binning=binning), known)
    group = torch.arange(50) % 2
    found = bin_columns(tensor, bins=5, binning=binning, within=group)
    known = bin_columns(values[::2], bins=5, binning=binning)
    np.testing.assert_array_equal(found[::2], known)
    values[3] = np.nan
    with pytest.raises(ValueError, match=r"values: expected finite .* found NaN .* in 1 of 50"):
        bin_columns(values, binning=binning)


def test_too_few_points_for_the_bins(rng):
    values = rng.normal(size=(39, 2))
    for function in (bin_columns, ceiling, lambda x: mi_matrix(x, x), lambda x: evaluate(x, x)):
        with pytest.raises(ValueError, match="at least 40 points for 20 bins, found 39: use fewer"):
            function(values)
    assert (np.bincount(bin_columns(values[:38], bins=19)[:, 0]) == 2).all()


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1])
def test_levels_are_between_0_and_1(level, rng):
    values = rng.normal(size=(50, 2))
    for number in (0, 200):
        with pytest.raises(ValueError, match=f"level must be .*above 0 and below 1, found {level}"):
            mi_matrix(values, values, level=level, num_permutations=number)


@pytest.mark.parametrize("score", [dci, explicitness])
def test_two_points_on_each_side(score, rng):
    codes, test = rng.normal(size=(40, 2)), np.arange(40) >= 39
    for some, words in ((test, "found 39 and 1 of 40"), (~test, "found 1 and 39 of 40")):
        with pytest.raises(ValueError, match=f"test: expected at least two points .*{words}"):
            score(codes, codes, test=some)
    with pytest.raises(ValueError, match="found 3 and 1 of 4"):
        score(codes[:4], codes[:4])


def test_points_to_test_on_as_a_tensor(rng):
    codes, factors, test = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)), np.arange(60) % 2
    known = explicitness(codes, factors, test=test == 1)
    found = explicitness(codes, factors, test=torch.tensor(test == 1))
    np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int64])
def test_tensors_of_any_type(kind):
    steps = torch.arange(5)
    measured = (2 * steps)[None, None, :, None] + torch.zeros(1, 3, 5, 1)
    found = traversal_effects(steps.to(kind), measured.to(kind), scale=torch.ones(1).to(kind))
    assert found.slope.item() == pytest.approx(2)
    points = torch.arange(50)[:, None].to(kind)
    same = mi_matrix(points, points, within=(torch.arange(50) % 2).to(kind), num_permutations=0)
    assert same.values.item() == pytest.approx(same.entropies.item())


def test_entropies_of_gaps():
    with pytest.raises(ValueError, match=r"one for each of the 2 factors, found the shape \(1,\)"):
        mutual_information_gap([[0.5, 0.2]], [1.0])
    with pytest.raises(ValueError, match=r"entropies: expected numbers above 0, found 0\.0: leave"):
        mutual_information_gap([[0.5, 0.2]], [1.0, 0.0])


@pytest.mark.parametrize("number", [399, 400, 1237])
def test_a_constant_code_tells_nothing_at_all(number):
    """Its logarithms cancel but for rounding, of which a ratio would make a specialised code."""
    points = np.arange(number)
    factors = np.stack([points % 3, points % 7, points % 11], 1)
    found = mi_matrix(np.full((number, 1), 0.1), factors, num_permutations=0)
    np.testing.assert_array_equal(found.plug_in, 0)
    np.testing.assert_array_equal(modularity(found.values), 0)
    corrected = mi_matrix(np.full((number, 1), 0.1), factors)
    np.testing.assert_array_equal(corrected.values, 0)
    assert not corrected.live.any()


def test_following_of_arrays_and_without_a_name():
    assert following(np.array(["T", "", "S"]), np.array(["T", "T", "T"])) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="found 0 and 0"):
        following(np.array([]), np.array([]))
    with pytest.raises(ValueError, match=r"expected: .*found an empty one in 1 of 2"):
        following(["T", ""], ["T", ""])


@pytest.mark.parametrize(
    ("codes", "factors", "words"),
    [
        (np.ma.masked_equal(np.arange(4.0), 2)[:, None], np.eye(4), "codes.*a masked array"),
        (np.arange(4)[:, None] + 1j, np.eye(4), "codes.*complex"),
        (np.eye(4), {1: np.arange(4), "1": np.arange(4)}, r"\['1'\] more than once"),
    ],
)
def test_what_would_be_lost_without_a_word_is_refused(codes, factors, words):
    with pytest.raises(ValueError, match=words):
        mi_matrix(codes, factors)


def test_one_number_may_name_the_nominal_factor():
    labels = np.arange(60)[:, None] % 3
    expected = mi_matrix(labels, labels, nominal=[0])
    assert (mi_matrix(labels, labels, nominal=0).values == expected.values).all()
