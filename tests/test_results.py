"""Every public result is readable: few lines, numbers with units, no dumps of tensors."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import types
import typing

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_mivae
from pyro_mivae import datasets, disentanglement, information, priors, runs, training
from pyro_mivae.infer import CompiledELBO, DualPair

# What functions return that is a model or a part of one, and no result.
NO_RESULTS = {CompiledELBO, DualPair, priors.Prior, datasets.Law, datasets.Normal, datasets.Uniform}
# Results that are handed to a callback and not returned.
HANDED = {training.Event}

LONG = torch.linspace(-1.0, 2.0, 400, dtype=torch.float64)
ESTIMATE = information.Estimate(3.25, 0.125)
AGGREGATE = information.AggregateInformation(
    ESTIMATE, 400, {"c": torch.ones(5)}, {"c": torch.ones(5)}, ("c",)
)
IMAGES = torch.zeros(400, 28, 28, dtype=torch.uint8)
SPLIT = datasets.Split(IMAGES, torch.arange(400) % 10)
FACTORS = xr.Dataset({"thickness": ("image", np.linspace(1, 2, 400), {"units": "pixels"})})
FACTOR_SPLIT = datasets.FactorSplit(IMAGES, SPLIT.labels, FACTORS, torch.arange(400), 123.4)
MATRIX = np.linspace(0, 1, 50).reshape(10, 5)
HISTORY = runs.History(
    [{"step": 5, "epoch": 0.5, "split": "train", "loss": 101.25, "mi": 3.5, "kl/c": 2.0}] * 30
)
SETTINGS = {
    "model": {"prior": "uniform"},
    "objective": {"channel": "sample", "mi_weight": 1.0},
    "training": {"seed": 0, "steps": 10},
}
CODE_INFORMATION = information.CodeInformation(
    ("c[0]", "c[1]"),
    ("thickness", "slant"),
    disentanglement.MIMatrix(
        *(np.array([[0.2, 0.8], [0.9, 0.1]]), np.zeros((2, 2)), np.zeros((2, 2))),
        *(np.ones(2, bool), np.ones(2), ("thickness", "slant")),
    ),
    *(np.zeros((2, 2)), np.eye(2), np.zeros((2, 2)), np.ones(2), ("thickness", "slant")),
    *(ESTIMATE, ESTIMATE, ("c[1]", "c[0]"), 400),
)
QUALITY = information.ImageQuality(
    *(61.5, 1.5, 900.0, {"thickness": 0.1}, 0.05, {0: 0.5, 1: 0.5}, 0.95, 0.97, 0.0, 400, 1000)
)
READINGS = information.Readings(
    {"thickness": np.ones(400)}, np.arange(400) % 10, np.full(400, 0.95), np.zeros((400, 64))
)
EXAMPLES = {
    information.Estimate: (ESTIMATE, "3.250 ± 0.125 nats"),
    information.Sandwich: (
        information.Sandwich((1, 1000), torch.stack([LONG, LONG]), torch.stack([LONG, LONG]), LONG),
        "0.500 ± 0.043 <= I(c; x') <= 0.500 ± 0.043 nats per datum (K = 1000), 400 generated data",
    ),
    information.AggregateInformation: (
        AGGREGATE,
        "I_q(c; x) = 3.250 ± 0.125 nats, of log N = 5.991 at most (400 data)",
    ),
    information.ElboDecomposition: (
        information.ElboDecomposition(
            *(ESTIMATE, ESTIMATE, ESTIMATE, AGGREGATE, ESTIMATE, ESTIMATE),
            *({"c": torch.ones(5)}, {"c": torch.ones(5)}, ""),
        ),
        "ELBO 3.250 ± 0.125 = log-likelihood 3.250 ± 0.125 - KL 3.250 ± 0.125 nats per datum "
        "(400 data)\n"
        "  KL = I_q(c; x) 3.250 ± 0.125 + KL(q(c) || p(c)) 3.250 ± 0.125\n"
        "  KL(q(c) || p(c)) = total correlation 3.250 ± 0.125 + KL by dimension 5.000",
    ),
    information.LogEvidence: (
        information.LogEvidence(LONG, 100, torch.full((400,), 12.5), LONG),
        "log-evidence 0.500 ± 0.043 nats per datum (400 data, K = 100)\n"
        "  effective samples 12.5 (median); 200 of 400 data unreliable (Pareto k above 0.50)",
    ),
    disentanglement.MIMatrix: (
        disentanglement.MIMatrix(
            *(MATRIX, MATRIX, MATRIX, np.arange(10) > 3, np.ones(5), tuple("abcde"))
        ),
        "Information of 10 codes, 6 of them live, about 5 factors\n  most in nats: "
        "a 0.92 (code 9), b 0.94 (code 9), c 0.96 (code 9), d 0.98 (code 9), e 1.00 (code 9)",
    ),
    information.CodeInformation: (
        CODE_INFORMATION,
        "Information of 2 codes about 400 generated images\n  most in nats: thickness 0.90 (c[1]), "
        "slant 0.80 (c[0])\n  alignment 3.250 ± 0.125 nats",
    ),
    information.ImageQuality: (
        QUALITY,
        "ImageQuality of 400 images beside 1000 real ones\n  Fréchet distance 61.5 (halves of",
    ),
    information.GeneratorInformation: (
        information.GeneratorInformation(
            *(CODE_INFORMATION, np.eye(2), np.eye(2), np.zeros(2), QUALITY),
            classes={"d": disentanglement.ClassMatch(0.875, [0, 1], [0.5, 0.5])},
            **{"codes": ("c[0]", "c[1]"), "factors": ("thickness", "slant")},
            **{"channel": "mean", "accuracy": 0.97, "num_draws": 400, "num_moved": 100},
        ),
        "GeneratorInformation of 400 images (means of x')\n  most in nats: thickness 0.90 (c[1])",
    ),
    information.Readings: (
        READINGS,
        "Readings of 400 images: thickness of 400, certainty of the class 0.950",
    ),
    information.ImageReader: (
        information.ImageReader(None, np.arange(10), 0.9688, 1000, print, READINGS),
        "ImageReader(10 classes, 96.9 % of 1000 test images right, measures thickness)",
    ),
    disentanglement.DCI: (
        disentanglement.DCI(np.eye(5) / 2, np.full(5, 0.5)),
        "DCI of 5 codes and 5 factors, from 0 to 1\n  disentanglement 1.00, completeness 1.00, "
        "informativeness 0.50 (mean over factors)",
    ),
    disentanglement.ClassMatch: (
        disentanglement.ClassMatch(0.875, [*range(10)], [0.2] * 5 + [0.0] * 5),
        "class accuracy 87.5 % of 10 categories, 5 of them used",
    ),
    disentanglement.TraversalEffects: (
        disentanglement.TraversalEffects(MATRIX, MATRIX, MATRIX, MATRIX, np.zeros((10, 5), int)),
        "Effects of 10 codes on 5 factors\n  code 0 moves factor 4 most: 0.08 ± 0.08 standard "
        "deviations per unit, exclusivity 0.08",
    ),
    datasets.Split: (SPLIT, "400 images of 28 x 28 pixels, 10 labels"),
    datasets.Digits: (
        datasets.Digits("mnist-5k", "a" * 64, "Made for a test.", SPLIT, SPLIT, SPLIT),
        "mnist-5k: 400 images to train on, 400 to validate, 400 to test\n  Made for a test.",
    ),
    datasets.FactorSplit: (
        FACTOR_SPLIT,
        "400 images of 28 x 28 pixels, worth 123 of the source\n  factors: thickness",
    ),
    datasets.FactorData: (
        datasets.FactorData(
            *("D1", "Made for a test.", {"thickness": datasets.Uniform(1, 2)}),
            *(FACTOR_SPLIT, FACTOR_SPLIT),
        ),
        "D1: 400 images to train on, 400 to test\n  Made for a test.\n"
        "  laws: thickness Uniform(low=1, high=2)",
    ),
    runs.History: (
        HISTORY,
        "History of 30 rows, in nats per datum\n"
        "  train: 30 rows, the last at step 5: loss 101.25, mi 3.50",
    ),
    runs.LoadedRun: (
        runs.LoadedRun(
            *("runs/mine", SETTINGS, None, None, None, None, print, 10, HISTORY, None, print)
        ),
        "run in runs/mine: 10 steps, not finished, of 10 steps\n"
        "  prior uniform, channel sample, lambda 1.0, seed 0",
    ),
    training.Event: (
        training.Event("log", 5, 0.5, {"loss": 101.25, "mi": 3.5}, HISTORY),
        "log at step 5, epoch 0.50: loss 101.25, mi 3.50, nats per datum",
    ),
    training.SeedRun: (
        training.SeedRun(3, print, print, None, HISTORY, 5, None),
        "seed 3: 5 steps, loss 101.25 nats per datum",
    ),
}


def classes_in(annotation):
    """The classes of the library in an annotation."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        yield from [annotation] if annotation.__module__.startswith("pyro_mivae") else []
    for part in typing.get_args(annotation):
        yield from classes_in(part)


def hints(function):
    try:
        return typing.get_type_hints(function)
    except NameError:  # of a module that is imported for types alone
        return {}


def returned():
    """The classes that public functions, methods and properties return, and their fields."""
    names = [info.name for info in pkgutil.iter_modules(pyro_mivae.__path__)]
    rooms = [importlib.import_module(f"pyro_mivae.{name}") for name in names]
    public = [getattr(room, name) for room in rooms for name in getattr(room, "__all__", ())]
    functions = [thing for thing in public if inspect.isfunction(thing)]
    todo = [c for f in functions for c in classes_in(hints(f).get("return"))]
    results = set()
    while todo:
        kind = todo.pop()
        if kind in results or kind in NO_RESULTS or not dataclasses.is_dataclass(kind):
            results |= {kind} - NO_RESULTS if kind is runs.History else set()
            continue
        results.add(kind)
        todo += [c for hint in hints(kind).values() for c in classes_in(hint)]
        properties = [m.fget for _, m in inspect.getmembers(kind) if isinstance(m, property)]
        todo += [c for f in properties for c in classes_in(hints(f).get("return"))]
    return results


def test_every_result_has_an_example():
    assert {c.__name__ for c in returned() | HANDED} == {c.__name__ for c in EXAMPLES}


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_a_result_is_a_few_lines_with_units(kind):
    result, words = EXAMPLES[kind]
    text = repr(result)
    assert text.startswith(words)
    assert len(text.splitlines()) <= 7
    assert max(map(len, text.splitlines())) <= 100
    for dump in ("tensor(", "array(", "...,", "<xarray", "object at 0x"):
        assert dump not in text
    units = ("nats", "images", "from 0 to 1", "%", "standard deviations", "steps")
    assert any(unit in text for unit in units)


def test_bounds_that_stay_apart_say_what_helps():
    """Apart: the gap less two standard errors is over 0.1 nats."""
    apart = information.Sandwich((10,), LONG[None], LONG[None] + 0.11, LONG)
    assert apart.apart
    for text in (repr(apart), str(apart), apart.note):
        words = " ".join(text.split())
        assert "pyro_mivae.training.refit_guide fits a copy of it to generated data" in words
    together = information.Sandwich((10,), LONG[None], LONG[None] + 0.09, LONG)
    spread = 10.0 * (-1.0) ** torch.arange(len(LONG))  # of standard error 0.5
    noisy = information.Sandwich((10,), LONG[None], LONG[None] + 0.5 + spread, LONG)
    infinite = information.Sandwich((10,), LONG[None], LONG[None] + math.inf, LONG)
    assert not together.apart
    assert not noisy.apart
    assert infinite.apart
    assert "refit_guide" not in repr(together)
