"""What is measured of a trained cell, GAN or VAE: images made from draws of the priors."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from experiments.generator import measurements
from experiments.generator.measurements import BATCH, FIRST_SEED
from experiments.infogan_study.design.datasets import FACTORS, StudyData, law_distances
from experiments.infogan_study.jobs.models import Pair
from experiments.tables import Row
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.infer.dual.fixed_scale import code_log_prob
from pyro_mivae.information import (
    GeneratorInformation,
    ImageReader,
    train_reader,
)
from pyro_mivae.information.generator.measurement import LABEL
from pyro_mivae.isolation import evaluation
from pyro_mivae.training import evaluate

STOPS = tuple(np.linspace(0.05, 0.95, 9).round(4).tolist())
"""Probabilities at whose quantiles a code is put in a sheet of traversals."""
SHOWN = 10
"""Images of a sheet whose code is moved."""


class _Recorder:
    """A measure that keeps what it measured of the drawn images, known by their number."""

    def __init__(self, reader: ImageReader, number: int) -> None:
        self.measure, self.number = reader.measure, number
        self.factors: dict[str, NDArray[np.float64]] = {}

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        values = dict(self.measure(images))
        if len(images) == self.number:
            self.factors = values
        return values


def read_real(data: StudyData, steps: int, cache_dir: Any) -> ImageReader:
    """Trains the digit classifier on the pool, and reads the test images."""
    return train_reader(
        data.pool,
        data.pool_labels,
        data.test,
        data.test_labels,
        steps=steps,
        cache_dir=cache_dir,
    )


def measure(pair: Pair, data: StudyData, reader: ImageReader, *, draws: int, seed: int) -> Row:
    """Measures a trained cell: the numbers of its row.

    Args:
        pair: Trained model and guide.
        data: Data set that it was trained on.
        reader: Reader of images.
        draws: Number of images.
        seed: Seed of the run.
    """
    module = pair.module
    recorder = _Recorder(reader, draws)
    result = measurements.measure(
        module,
        data.test,
        module.observe,
        dataclasses.replace(reader, measure=recorder),
        draws=draws,
        seed=FIRST_SEED + seed,
    )
    row: Row = {**result.numbers(), **_information(result)}
    row |= {f"real_distance/{n}": v for n, v in result.quality.distances.items()}
    for factor in FACTORS:
        distances = law_distances(factor, recorder.factors[factor], data.real)
        row |= {f"law/{factor}/{name}": distance for name, distance in distances.items()}
        row[f"set_measured/{factor}"] = data.set_measured[factor]
    row["explained"] = _explained(pair, draws, FIRST_SEED + seed)
    return row | _terms(pair, data)


def _information(result: GeneratorInformation) -> Row:
    """Information of codes about factors, in nats; total effects; the largest of a live code c."""
    numbers = measurements.numbers_of(result)
    row: Row = {}
    for name, kind in (("mi", "information"), ("within", "within"), ("effect", "effects")):
        for code, values in numbers[kind].items():
            row |= {f"{name}/{code}/{factor}": value for factor, value in values.items()}
    info = result.information
    for name, factor in (("I_T", FACTORS[0]), ("I_S", FACTORS[1]), ("I_label", LABEL)):
        row[name] = math.nan
        if info is not None:
            live = [c for c, lives in zip(result.codes, info.matrix.live, strict=True) if lives]
            values_of_c = [row[f"mi/{code}/{factor}"] for code in live if code.startswith("c[")]
            row[name] = max(values_of_c, default=0.0)
    return row


def _explained(pair: Pair, draws: int, seed: int) -> float:
    """The share of the codes' variance that Q's location explains on generated images.

    It is what the term of InfoGAN's form makes large: the guide's own scale plays no part.
    """
    model, prior = pair.module.model, pair.module.priors["c"]
    squares = 0.0
    with evaluation(model, pair.guide, device=torch.device("cpu"), seed=seed):
        for start in range(0, draws, BATCH):
            number = min(BATCH, draws - start)
            x, latents = _generate(pair, number)
            trace = poutine.trace(pair.module.guide).get_trace(x)
            site = {**trace.nodes["c"], "value": latents["c"]}
            # Twice the log-density of a standard normal around the location, less its top.
            top = prior.dim * math.log(2 * math.pi)
            squares += float((-2 * code_log_prob(site, None, 1.0) - top).sum())
        variance = float(prior().variance.sum())
    return 1 - squares / draws / variance


def _generate(pair: Pair, number: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Draws latents and makes x': what the guide was trained on, the mean or drawn pixels."""
    latents = {site: p().expand((number,)).sample() for site, p in pair.module.priors.items()}
    images = pair.module.model.decode(*latents.values())
    return (images.mean if pair.adversarial else images.sample()), latents


def _terms(pair: Pair, data: StudyData) -> Row:
    """The bounds on the information, by the guide, and the terms of the training; nats."""
    module = pair.module
    objective: TraceMI_GAN | TraceMI_ELBO
    if isinstance(pair.objective, TraceMI_GAN):
        objective = TraceMI_GAN(pair.objective.discriminator, codes=module.codes)
    else:
        objective = TraceMI_ELBO(channel="sample", codes=module.codes)
    terms = evaluate(module.model, module.guide, objective, data.test, prepare=module.observe)
    return {_column(n): v for n, v in terms.items() if n != "mi" and not n.startswith("loss")}


def _column(term: str) -> str:
    """The column of a term: ``mi/c`` is that of the images, ``bound/c`` that of the guide."""
    return f"bound/{term.removeprefix('mi/')}" if term.startswith("mi/") else term


def traverse(pair: Pair, *, seed: int) -> NDArray[np.uint8]:
    """Makes images while one code moves and all else stays.

    Args:
        pair: Trained model and guide.
        seed: Seed of the run.

    Returns:
        Images, shape ``(codes, stops, images, 28, 28)``.
    """
    prior = pair.module.priors["c"]
    with evaluation(pair.module.model, device=torch.device("cpu"), seed=FIRST_SEED + seed):
        values = prior.quantile(torch.tensor(STOPS))
        drawn = {s: p().expand((SHOWN,)).sample() for s, p in pair.module.priors.items()}
        lead = (prior.dim, len(STOPS), SHOWN)
        latents = {site: value.expand(*lead, -1).clone() for site, value in drawn.items()}
        for k in range(prior.dim):
            latents["c"][k, :, :, k] = values[:, k, None]
        images = pair.module.model.decode(*latents.values()).mean
        rounded: NDArray[np.uint8] = (255 * images).round().byte().numpy()
    return rounded
