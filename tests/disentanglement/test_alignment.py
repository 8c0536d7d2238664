"""What the study counts, planted slopes of traversals, and all scores in one data set."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from experiments.open_question.jobs.carried_factors import (
    carried,
    carried_share,
    following,
    leading_code,
)
from pyro_mivae.disentanglement import (
    MIMatrix,
    ceiling,
    dci,
    evaluate,
    explicitness,
    ksg_matrix,
    mi_matrix,
    modularity,
    sap,
    top_factors,
    traversal_effects,
)

PACKAGE = Path(__file__).parents[2] / "pyro_mivae" / "disentanglement"


def made(values, live):
    values = np.array(values)
    ones = np.ones(values.shape[1])
    names = ("thickness", "slant", "digit")
    return MIMatrix(values, values, 0 * values, np.array(live), ones, names)


def test_what_the_study_counts():
    matrix = made([[0.2, 0.5, 0.1], [0.9, 0.1, 0.0], [9.0, 9.0, 9.0]], [True, True, False])
    assert carried(matrix, "thickness") == 0.9
    assert carried(matrix, "slant") == 0.5
    assert carried_share(matrix, "thickness", "slant") == pytest.approx(1.1 / 1.7)
    assert top_factors(matrix).tolist() == [1, 0, -1]
    assert leading_code(matrix) == 1
    spread = made([[0.5, 0.5, 0.5], [0.9, 0.0, 0.0]], [True, True])
    assert leading_code(spread) == 1  # by the largest number, not by the sum
    dead = made([[0.2, 0.5, 0.1]], [False])
    assert carried(dead, "slant") == 0
    assert math.isnan(carried_share(dead, "thickness", "slant"))
    assert leading_code(dead) == -1
    with pytest.raises(ValueError, match=r"expected one of .*'slant'.*found 'width'"):
        carried(matrix, "width")


def test_following():
    top, uniform = ["T", "S", "T", "", "S"], ["T", "S", "S", "T", "S"]
    assert following(top, uniform) == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match="found 0 and 0"):
        following([], [])


STEPS = np.linspace(-2, 2, 9)


def test_planted_slopes():
    """Code 0 moves thickness, 1 slant up and down by turns and thickness a little, 2 nothing."""
    effect = np.zeros((3, 4, 9, 2))
    effect[0, ..., 0] = 3 * STEPS + 5
    effect[1, ..., 0] = 0.1 * STEPS
    effect[1, ..., 1] = 0.2 * STEPS * np.array([1, -1, 1, -1])[:, None]
    effect += np.arange(4)[None, :, None, None]  # the traversals start elsewhere
    found = traversal_effects(STEPS, torch.tensor(effect), scale=[2.0, 0.4])
    np.testing.assert_allclose(found.slope, [[1.5, 0], [0.05, 0], [0, 0]], atol=1e-12)
    known = 0.5**2 / (0.5**2 + 0.05**2)
    np.testing.assert_allclose(found.exclusivity[:2], [[1, 0], [1 - known, known]], atol=1e-12)
    assert np.isnan(found.exclusivity[2]).all()
    np.testing.assert_allclose(found.linearity[1], 1)
    assert found.slope_se[1, 1] == pytest.approx(0.5 * math.sqrt(4 / 3) / 2)
    assert found.num_missing.sum() == 0


def test_bends_and_missing_images():
    rng = np.random.default_rng(0)
    measured = np.zeros((1, 50, 9, 2))
    measured[..., 0] = STEPS**2
    measured[..., 1] = STEPS + rng.normal(size=(50, 9))
    whole = traversal_effects(STEPS[None], measured, scale=[1.0, 1.0])
    assert whole.slope[0, 0] == pytest.approx(0, abs=1e-12)
    assert whole.linearity[0, 0] == pytest.approx(0, abs=1e-12)
    error = math.sqrt(1 / (STEPS**2).sum() / 50)  # of least squares
    assert abs(whole.slope[0, 1] - 1) < 4 * error
    assert whole.slope_se[0, 1] == pytest.approx(error, rel=0.4)
    measured[0, 0, :, 1] = np.nan
    measured[0, 1, 2:, 1] = np.nan
    found = traversal_effects(STEPS, measured, scale=[1.0, 1.0])
    assert found.num_missing.tolist() == [[0, 16]]
    by_hand = [np.polyfit(STEPS, y, 1)[0] for y in measured[0, 2:, :, 1]]
    by_hand.append(np.polyfit(STEPS[:2], measured[0, 1, :2, 1], 1)[0])
    assert found.slope[0, 1] == pytest.approx(np.mean(by_hand))
    assert found.slope_se[0, 1] == pytest.approx(np.std(by_hand, ddof=1) / 7)
    measured[..., 1] = np.nan
    gone = traversal_effects(STEPS, measured, scale=[1.0, 1.0])
    assert np.isnan(gone.slope[0, 1])


@pytest.mark.parametrize(
    ("values", "shape", "scale", "words"),
    [
        (STEPS, (2, 9, 2), [1.0, 1.0], r"measured\[None\] adds"),
        (STEPS[1:], (1, 2, 9, 2), [1.0, 1.0], r"found \(8,\) and \(2,\)"),
        (STEPS, (1, 2, 9, 2), [1.0], r"found \(9,\) and \(1,\)"),
        (0 * STEPS, (1, 2, 9, 2), [1.0, 1.0], "values that differ"),
        (STEPS, (1, 2, 9, 2), [1.0, 0.0], "positive scales"),
    ],
)
def test_refusals_of_traversals(values, shape, scale, words):
    with pytest.raises(ValueError, match=words):
        traversal_effects(values, np.zeros(shape), scale=scale)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    style, digit = rng.normal(size=(900, 2)), rng.integers(0, 3, 900)
    factors = {"thickness": style[:, 0] + digit, "slant": style[:, 1], "digit": digit}
    codes = np.stack([style[:, 0] + digit, digit + 0.3 * rng.normal(size=900)], 1)
    codes = np.hstack([codes, style[:, 1:] + rng.normal(size=(900, 1)), rng.normal(size=(900, 1))])
    return torch.tensor(codes), factors


@pytest.mark.slow
def test_evaluate_holds_every_score(data, tmp_path):
    codes, factors = data
    found = evaluate(codes, factors, nominal=["digit"], code_names=list("abcd"))
    matrix = mi_matrix(codes, factors, nominal=["digit"])
    np.testing.assert_array_equal(found["mi"], matrix.values)
    assert found["live"].values.tolist() == [True, True, True, False]
    assert found["num_live"] == 3
    assert found["top_factor"].values.tolist() == ["thickness", "digit", "slant", ""]
    assert found["modularity"] == pytest.approx(modularity(matrix.values[:3]).mean())
    by_code = [*modularity(matrix.values[:3]), np.nan]
    np.testing.assert_allclose(found["modularity_code"], by_code)
    assert found["mig"] == pytest.approx(found["gap"].mean().item())
    assert found["mig"] < found["mig_ceiling"] < 1
    top = ceiling(factors, nominal=["digit"])
    assert found["modularity_ceiling"] == pytest.approx(modularity(top.values).mean())
    assert found["sap"] == pytest.approx(sap(codes, factors, nominal=["digit"]).mean())
    trees = dci(codes, factors, nominal=["digit"])
    assert found["dci_disentanglement"] == trees.disentanglement
    assert found["dci_completeness"] == trees.completeness
    np.testing.assert_array_equal(found["informativeness"], trees.informativeness)
    linear = explicitness(codes, factors, nominal=["digit"])
    np.testing.assert_array_equal(found["explicitness"], linear)
    near = ksg_matrix(codes, factors, nominal=["digit"])
    np.testing.assert_array_equal(found["mi_ksg"], near)
    assert "factor_vae" not in found
    inside = mi_matrix(
        codes, {k: factors[k] for k in ("thickness", "slant")}, within=factors["digit"]
    )
    np.testing.assert_array_equal(found["mi_within"][:, :2], inside.values)
    assert found["mi_within"][:, 2].isnull().all()
    assert found["mi_within"][1, 0] < 0.05 < found["mi"][1, 0]
    gaps = found["gap_within"]
    assert gaps.isnull().values.tolist() == [False, False, True]
    assert found["mig_within"] == pytest.approx(gaps.mean().item())
    assert found["mig_within"] < found["mig_within_ceiling"] < 1
    assert found["mi"].attrs["units"] == "nats"
    found.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as again:
        xr.testing.assert_identical(again.load(), found)


def test_evaluate_with_a_sampler_and_without_corrections(data):
    rng = np.random.default_rng(1)
    factors = rng.uniform(size=(300, 2))
    settings = {"encode": lambda f: 2 * f, "sampler": lambda n, rng: rng.uniform(size=(n, 2))}
    found = evaluate(2 * factors, factors, num_permutations=0, **settings)
    assert found["factor_vae"] == found["beta_vae"] == 1
    assert "mi_within" not in found
    np.testing.assert_array_equal(found["mi"], found["mi_plug_in"])
    assert found["mig"] == found["mig_ceiling"]
    with pytest.raises(ValueError, match="both or neither, found only sampler"):
        evaluate(factors, factors, sampler=settings["sampler"])
    with pytest.raises(ValueError, match="code_names: expected 2 names, found 1"):
        evaluate(factors, factors, code_names=["a"])


def test_evaluate_where_no_code_is_live():
    rng = np.random.default_rng(2)
    found = evaluate(np.zeros((200, 2)), rng.normal(size=(200, 2)))
    assert found["num_live"] == found["mig"] == found["modularity"] == 0
    assert found["top_factor"].values.tolist() == ["", ""]


def test_the_package_needs_neither_torch_nor_the_rest():
    alone = [PACKAGE.parent / f"{name}.py" for name in ("checks", "extras")]  # need Python alone
    for path in (*PACKAGE.glob("*.py"), *alone):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("torch", "pyro")
                own = name.split(".")[1:2] in (["disentanglement"], ["checks"], ["extras"])
                assert not name.startswith("pyro_mivae.") or (own and path not in alone)
