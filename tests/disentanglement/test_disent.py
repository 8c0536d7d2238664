"""The scores against those of the package `disent` 0.8, where it is installed.

It draws its points itself. An encoder that notes the factors it reads gives ours the same points.
"""

import warnings

import numpy as np
import pytest
import torch

from pyro_mivae.disentanglement import (
    completeness,
    dci,
    disentanglement,
    factor_vae_score,
    mi_matrix,
    mutual_information_gap,
    sap,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it runs without numba, and says so
    metrics = pytest.importorskip("disent.metrics", reason="pip install disent")
    from disent.dataset import DisentDataset
    from disent.dataset.data import ArrayGroundTruthData
    from disent.metrics import _dci as trees

SIZES = (8, 7, 6)
NUMBER = 2000
# Columns as functions of three factors. The odd weights keep values off the edges of the 20 bins,
# where rounding decides.
CODES = {
    "one each": lambda a, b, c: (a, -2 * b, np.sqrt(c), 0 * a),
    "unequal": lambda a, b, c: (a + 0.31 * b, b, c + 0.21 * a, np.exp(b)),
    "mixed": lambda a, b, c: (a + b, a - b, c, c + 0.5 * a),
    "packed": lambda a, b, c: (7.03 * a + b, c, 0.11 * c**2 + b, a // 4),
    "halved": lambda a, b, c: (a // 4, b // 2, c, a % 2 + 0.1 * b),
}
CASES = pytest.mark.parametrize("name", CODES)


class Encoder:
    """Maps factors to codes as each of both packages calls it, and notes the factors it read."""

    def __init__(self, name):
        self._codes, self._read = CODES[name], []

    def __call__(self, factors):
        return np.stack([1.0 * code for code in self._codes(*np.asarray(factors, float).T)], 1)

    def of_images(self, images):
        """The codes of images, whose pixels are the factors."""
        factors = images.reshape(len(images), len(SIZES)).numpy()
        self._read.append(factors)
        return torch.from_numpy(self(factors))

    @property
    def factors(self):
        """Factors of the points that `disent` drew, in its order."""
        return np.concatenate(self._read)


@pytest.fixture
def dataset():
    np.random.seed(0)  # noqa: NPY002 -- disent draws by the global generator
    table = np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), 1)
    images = table.astype(np.float64).reshape(-1, len(SIZES), 1, 1)
    return DisentDataset(ArrayGroundTruthData(images, ("a", "b", "c"), SIZES))


@CASES
def test_mig_is_the_same_to_rounding(name, dataset):
    encoder = Encoder(name)
    theirs = metrics.metric_mig(dataset, encoder.of_images, num_train=NUMBER)
    factors = encoder.factors
    assert factors.shape == (NUMBER, 3)
    info = mi_matrix(
        encoder(factors), factors, nominal=[0, 1, 2], binning="width", num_permutations=0
    )
    ours = mutual_information_gap(info.values, info.entropies).mean()
    assert ours == pytest.approx(theirs["mig.discrete_score"], abs=1e-12)


@CASES
def test_sap_is_the_same_to_rounding(name, dataset):
    encoder = Encoder(name)
    theirs = metrics.metric_sap(
        dataset, encoder.of_images, num_train=NUMBER, num_test=32, continuous_factors=True
    )
    factors = encoder.factors[:NUMBER]
    assert sap(encoder(factors), factors).mean() == pytest.approx(theirs["sap.score"], abs=1e-9)


def test_entropies_of_importances_are_the_same_to_its_small_constant():
    """disent adds 1e-11 to each importance."""
    rng = np.random.default_rng(0)
    for shape in ((3, 3), (5, 2), (2, 6)):
        importance = rng.gamma(0.5, size=shape)
        assert disentanglement(importance) == pytest.approx(
            trees._disentanglement(importance), abs=1e-8
        )
        assert completeness(importance) == pytest.approx(trees._completeness(importance), abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one each", "unequal", "mixed"])
def test_dci_agrees_where_all_factors_are_predicted(name, dataset):
    """Ours weighs a factor by its informativeness; trees of both are drawn at random."""
    encoder = Encoder(name)
    theirs = metrics.metric_dci(dataset, encoder.of_images, num_train=1000, num_test=500)
    factors = encoder.factors
    test = np.arange(len(factors)) >= 1000
    ours = dci(encoder(factors), factors, nominal=[0, 1, 2], test=test)
    assert theirs["dci.informativeness_test"] > 0.98
    assert ours.informativeness.mean() > 0.98
    assert ours.disentanglement == pytest.approx(theirs["dci.disentanglement"], abs=0.02)
    assert ours.completeness == pytest.approx(theirs["dci.completeness"], abs=0.02)


@pytest.mark.parametrize("name", [name for name in CODES if name != "one each"])
def test_factor_vae_agrees_to_sampling_error(name, dataset):
    """Without the case that has a constant code, which disent divides by its variance of 0."""
    settings = {"num_train": 700, "num_eval": 700, "num_variance_estimate": np.prod(SIZES)}
    encoder = Encoder(name)
    theirs = metrics.metric_factor_vae(dataset, encoder.of_images, **settings)

    def sampler(number, rng):
        return rng.integers(0, SIZES, (number, len(SIZES)))

    ours = factor_vae_score(encoder, sampler, num_train=700, num_test=700)
    error = np.sqrt(2 * 0.25 / 700)
    assert ours == pytest.approx(theirs["factor_vae.eval_accuracy"], abs=3 * error)
