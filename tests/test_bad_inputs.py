"""Bad values of the library's arguments: one sentence with the name, before anything is made."""

import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae import checks, datasets, disentanglement, inference_data, information, priors
from pyro_mivae.datasets import Normal, Uniform, binarize, load_digits, reinked_digits, sprites
from pyro_mivae.distributions import GumbelOneHot
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import adam, evaluate, fit, make_fabric, refit_guide
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.likelihoods import Bernoulli, Gaussian
from pyro_mivae.vae.networks import ConvEncoder, MLPDecoder, MLPEncoder

X = torch.zeros(4)
NOT_WHOLE = "must be a whole number, "
ABOVE_0 = "must be a finite number, above 0, found "


def never(*args, **kwargs):
    raise AssertionError("model or guide was called")


def elbo(**kwargs):
    return TraceMI_ELBO(channel="sample", **kwargs)


def train(**kwargs):
    return fit(never, never, elbo(), kwargs.pop("data", X), **{"steps": 1, **kwargs})


def sandwich(**kwargs):
    return information.sandwich(never, never, X, **kwargs)


def evidence(**kwargs):
    return information.log_evidence(never, never, X, **kwargs)


def aggregate(**kwargs):
    return information.aggregate_information(never, X, **kwargs)


def decomposition(**kwargs):
    return information.elbo_decomposition(never, never, X, **kwargs)


def dimensions(**kwargs):
    return information.per_dimension(never, never, X, **kwargs)


def pairwise(**kwargs):
    return information.pairwise_information(never, X, **kwargs)


def draws(**kwargs):
    return inference_data.from_pair(never, never, X, **kwargs)


def refit(**kwargs):
    return refit_guide(never, never, X, **{"steps": 1, **kwargs})


def evaluated(**kwargs):
    return evaluate(never, never, elbo(), X, **kwargs)


def sprite_data(**kwargs):
    return sprites(**{"num_train": 2, "num_test": 2, **kwargs})


def redrawn(**kwargs):
    laws = {"thickness": Uniform(1.0, 2.0), "slant": Uniform(-0.1, 0.1)}
    return reinked_digits(None, **{**laws, "num_train": 2, "num_test": 2, **kwargs})


def resampled(**kwargs):
    return datasets.resampled_digits(None, law=Uniform(1.0, 2.0), **kwargs)


def matrix(**kwargs):
    return disentanglement.mi_matrix(never, never, **kwargs)


def neighbours(**kwargs):
    return disentanglement.ksg_matrix(never, never, **kwargs)


def scores(**kwargs):
    return disentanglement.evaluate(never, never, **kwargs)


def dci(**kwargs):
    return disentanglement.dci(never, never, **kwargs)


def explicitness(**kwargs):
    return disentanglement.explicitness(never, never, **kwargs)


def votes(**kwargs):
    return disentanglement.factor_vae_score(never, never, **kwargs)


def differences(**kwargs):
    return disentanglement.beta_vae_score(never, never, **kwargs)


def prior(name="gaussian", dim=2, **kwargs):
    return priors.make_prior(name, dim, **kwargs)


def interval(level):
    return information.Estimate(0.0, 1.0).interval(level)


# Every argument with each of its bad values, and the words after its name.
COUNTS = {
    "2.5": (2.5, NOT_WHOLE),
    "1.0": (1.0, NOT_WHOLE),
    "nan": (float("nan"), NOT_WHOLE),
    "text": ("3", NOT_WHOLE),
    "true": (True, NOT_WHOLE),
    "none": (None, NOT_WHOLE),
    "negative": (-1, "must be "),
    "tensor": (torch.ones(2), NOT_WHOLE),
}
SOME = ("2.5", "text", "negative")
ARGUMENTS = [
    (train, ("steps",), COUNTS),
    (train, ("log_every", "checkpoint_every", "devices", "num_nodes", "seed"), SOME),
    (train, ("batch_size",), SOME),
    (sandwich, ("num_samples", "num_dual_particles"), (*SOME, "true")),
    (sandwich, ("parallel", "seed"), SOME),
    (evidence, ("num_samples", "batch_size", "parallel", "seed"), SOME),
    (aggregate, ("num_samples", "batch_size", "seed"), SOME),
    (decomposition, ("num_samples", "batch_size", "seed"), SOME),
    (dimensions, ("aggregate_size", "batch_size", "seed"), SOME),
    (pairwise, ("batch_size", "seed"), SOME),
    (draws, ("num_draws", "seed"), SOME),
    (refit, ("steps", "seed"), SOME),
    (evaluated, ("batch_size", "seed"), SOME),
    (elbo, ("num_dual_particles", "num_dual_samples"), SOME),
    (sprite_data, ("num_train", "num_test", "seed", "size"), SOME),
    (redrawn, ("num_train", "num_test", "seed"), SOME),
    (resampled, ("num_train", "num_test", "seed"), SOME),
    (matrix, ("num_permutations", "seed"), SOME),
    (neighbours, ("num_neighbors", "max_points", "seed"), SOME),
    (scores, ("bins", "num_permutations", "max_points", "seed"), SOME),
    (dci, ("max_points", "seed"), SOME),
    (explicitness, ("max_points", "seed"), SOME),
    (votes, ("batch_size", "num_train", "num_test", "seed"), SOME),
    (differences, ("batch_size", "num_train", "num_test", "seed"), SOME),
    (MIVAE, ("code_dim", "noise_dim", "categories"), SOME),
    (prior, ("dim",), SOME),
]
CASES = [
    pytest.param(call, name, *COUNTS[kind], id=f"{call.__name__}-{name}-{kind}")
    for call, names, kinds in ARGUMENTS
    for name in names
    for kind in kinds
]


@pytest.mark.parametrize(("call", "name", "value", "words"), CASES)
def test_numbers_that_are_counted(call, name, value, words):
    with pytest.raises(ValueError, match=rf"^{name} {words}.*found") as error:
        call(**{name: value})
    assert "\n" not in str(error.value)


OTHERS = [
    (lambda: train(steps=0), "steps must be at least 1, found 0"),
    (lambda: train(seed=2**32), "seed must be at most 4294967295, found 4294967296"),
    (lambda: train(drop_last="no"), "drop_last must be True or False, found 'no'"),
    (lambda: train(resume=1), "resume must be True or False, found 1"),
    (lambda: train(progress=None), "progress must be True or False, found None"),
    (lambda: train(prepare=3), "prepare must be a callable, found 3"),
    (lambda: train(callbacks=3), "callbacks must be a sequence of callables, found 3"),
    (lambda: train(callbacks=["a"]), "callbacks must be a callable, found 'a'"),
    (lambda: train(folder=3), "folder must be a path or None, found 3"),
    (lambda: train(folder=__file__), "folder must be that of a folder, found the file"),
    (lambda: train(resume=True), "resume=True needs the folder of the checkpoint"),
    (lambda: train(data=3), "data: expected a tensor, a list or tuple of tensors of equal length"),
    (lambda: train(data=X[:0]), "data must be tensors of equal length above 0"),
    (lambda: train(data=(X, X[1:])), "data must be tensors of equal length above 0"),
    (lambda: train(device="gpu"), "device must be one of 'auto', 'cpu', 'cuda', found 'gpu'"),
    (lambda: make_fabric("gpu"), "device must be one of 'auto', 'cpu', 'cuda', found 'gpu'"),
    (lambda: make_fabric(devices=0), "devices must be at least 1, found 0"),
    (lambda: adam([], 0.0), f"learning_rate {ABOVE_0}0.0"),
    (lambda: adam([], float("nan")), f"learning_rate {ABOVE_0}nan"),
    (lambda: adam([], "fast"), f"learning_rate {ABOVE_0}'fast'"),
    (lambda: elbo(mi_weight=-1), "mi_weight (lambda) must be a finite number >= 0"),
    (lambda: elbo(mi_weight=float("inf")), "mi_weight (lambda) must be a finite number >= 0"),
    (lambda: elbo(mi_weight=torch.tensor(-1.0)), "mi_weight (lambda) must be a finite number >= 0"),
    (lambda: elbo(mi_weight=torch.ones(2)), "mi_weight (lambda) must be one number"),
    (lambda: elbo(kl_weight=torch.tensor(float("nan"))), "kl_weight (beta) must be a finite"),
    (lambda: elbo(kl_weight="a"), "kl_weight (beta) must be a finite number >= 0"),
    (lambda: elbo(code_scale=0), "code_scale must be a positive number, or None, found 0"),
    (lambda: elbo(baseline="no"), "baseline must be True or False, found 'no'"),
    (
        lambda: elbo(num_dual_samples=10**9),
        "num_dual_samples must be at most 100000000, found",
    ),
    (
        lambda: sandwich(num_samples=10**9),
        "num_samples must be at most 100000000, found",
    ),
    (lambda: sandwich(num_samples=1.5), "num_samples must be a whole number, from 1"),
    (lambda: sandwich(num_samples=[10, 2.5]), "num_samples must be a whole number, from 1"),
    (lambda: sandwich(num_samples=[]), "num_samples must be one or more values, found []"),
    (
        lambda: evidence(num_samples=10**9),
        "num_samples must be at most 100000000, found",
    ),
    (lambda: draws(num_draws=0), "num_draws must be at least 1, found 0"),
    (lambda: interval(1.0), "level must be a finite number, above 0 and below 1, found 1.0"),
    (lambda: interval("a"), "level must be a finite number, above 0 and below 1, found 'a'"),
    (lambda: matrix(level=2), "level must be a finite number, above 0 and below 1, found 2"),
    (lambda: binarize(X.byte(), threshold=1), "threshold: expected a fraction of 255 in [0, 1)"),
    (lambda: load_digits("cifar"), "data: expected one of auto, mnist, mnist-5k"),
    (lambda: load_digits(timeout=-1), "timeout: expected a positive number of seconds"),
    (lambda: load_digits(timeout=float("nan")), "timeout: expected a positive number of seconds"),
    (lambda: sprite_data(laws={"hue": Uniform(0, 1)}), "laws: expected some of scale, angle"),
    (lambda: sprite_data(size=10**6), "size must be at most 10000, found 1000000"),
    (lambda: resampled(share=(0.0, 1.0)), "share: expected two numbers in (0, 1]"),
    (lambda: resampled(permuted="no"), "permuted must be True or False, found 'no'"),
    (lambda: Uniform(1.0, 1.0), "Uniform: expected finite low < high, found 1.0, 1.0"),
    (lambda: Normal(0.0, -1.0), "Normal: expected a finite loc and a positive scale"),
    (lambda: Normal(0.0, 1.0, 1.0), "Normal: scale 1.0 is too large for reach 1.0"),
    (lambda: prior("cauchy"), "unknown prior 'cauchy': expected one of"),
    (lambda: prior(scale=0.0), f"scale {ABOVE_0}0.0"),
    (lambda: prior(loc=float("nan")), "loc must be a finite number, found nan"),
    (lambda: prior("uniform", low=1, high=0), "expected finite bounds with low < high"),
    (lambda: prior("bimodal", distance=1), "distance must be a finite number, above 0 and below 1"),
    (lambda: prior("mixture", components=0), "components must be at least 1, found 0"),
    (lambda: prior("rotated", 3), "dim must be even, as dimensions are turned in pairs, found 3"),
    (lambda: priors.CategoricalPrior(1), "dim must be at least 2 categories, found 1"),
    (lambda: GumbelOneHot(X, temperature=0), f"temperature {ABOVE_0}0"),
    (lambda: Gaussian(scale=-1), f"scale {ABOVE_0}-1"),
    (lambda: Gaussian(scale=float("nan")), f"scale {ABOVE_0}nan"),
    (lambda: Bernoulli(binarization="half"), "binarization must be 'dynamic' or 'fixed'"),
    (lambda: MIVAE(likelihood="poisson"), "unknown likelihood 'poisson': expected one of"),
    (lambda: MIVAE(encoder="resnet"), "unknown encoder 'resnet': expected one of mlp, conv"),
    (lambda: MIVAE(image_shape=(28, 0)), "image_shape: expected (height, width) or"),
    (lambda: MIVAE(prior=prior(dim=3)), "prior has 3 dimensions, but code_dim is 5"),
    (lambda: MLPEncoder(0), "the layers must be at least 1, found 0"),
    (lambda: MLPEncoder(2, hidden=(2.5,)), "the layers must be a whole number, at least 1"),
    (lambda: MLPDecoder(-1), "the layers must be at least 1, found -1"),
    (lambda: ConvEncoder(2, image_shape=(28,)), "image_shape must be (height, width) or"),
]


@pytest.mark.parametrize(("call", "words"), OTHERS, ids=[words for _, words in OTHERS])
def test_other_values(call, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        call()


def test_numbers_of_other_libraries_are_taken():
    assert checks.check_count("n", np.int64(3)) == 3
    assert checks.check_count("n", torch.tensor(3)) == 3
    assert checks.check_number("x", np.float32(0.5)) == 0.5
    assert checks.check_flag("f", np.True_) is True


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError, match=r"found '\w{70,76}\.\.\.$"):
        checks.check_count("n", "x" * 1000)
    with pytest.raises(ValueError, match="found tensor") as error:
        checks.check_number("x", torch.ones(100, 100))
    assert len(str(error.value).splitlines()) == 1


def test_a_schedule_of_bad_weights_is_named_at_its_step():
    class Model(nn.Module):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.gain * x, 0.7))

    for weight in (lambda step: -1.0, lambda step: torch.tensor(-1.0), lambda step: float("nan")):
        with pytest.raises(ValueError, match="mi_weight"):
            fit(
                *(Model(), Guide(), elbo(mi_weight=weight), torch.randn(5)),
                **{"steps": 1, "device": "cpu", "progress": False},
            )
