"""What is measured of a trained InfoGAN, and the words for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from rich.table import Table

from experiments.infogan.config import Config
from pyro_mivae.datasets import Digits
from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.information import (
    GeneratorInformation,
    ImageReader,
    generator_information,
    train_reader,
)
from pyro_mivae.training import evaluate

FIRST_SEED = 10_000
"""Seed of the draws that are measured, less the seed of the run."""
REAL = 5000
"""Real images, at most, that generated ones are compared with."""
PAPER = 0.95
"""Class accuracy of the category that Chen et al. (2016) report for MNIST, sec. 7.2."""


def read_real(digits: Digits) -> ImageReader:
    """Trains the reader of images on the training images, and measures real ones beside."""
    images = torch.cat([digits.test.images, digits.validation.images])[:REAL]
    labels = torch.cat([digits.test.labels, digits.validation.labels])[:REAL]
    return train_reader(digits.train.images, digits.train.labels, images, labels)


def measure(config: Config, gan: InfoGAN, reader: ImageReader) -> GeneratorInformation:
    """Measures what the codes tell of the images that are made from them."""
    draws = config.output.draws
    size = min(500, draws)
    x = gan.model.latent_loc.new_zeros(size, *gan.model.image_shape)
    return generator_information(
        gan.model,
        x,
        reader=reader,
        channel="mean",
        codes=gan.codes,
        num_draws=draws,
        num_moved=max(2, min(1000, draws // 5)),
        seed=FIRST_SEED + config.training.seed,
    )


def metrics_of(
    result: GeneratorInformation, gan: InfoGAN, elbo: TraceMI_GAN, digits: Digits
) -> dict[str, Any]:
    """Lists the measurements as plain values, for ``metrics.json``."""
    terms = evaluate(gan.model, gan.guide, elbo, digits.test.images, prepare=gan.observe)
    metrics: dict[str, Any] = {"test": terms, "generator": result.numbers(), "information": {}}
    if result.information is not None:
        rows = zip(result.codes, result.information.matrix.values, strict=True)
        factors = result.factors
        metrics["information"] = {
            code: dict(zip(factors, map(float, row), strict=True)) for code, row in rows
        }
    if "d" in result.classes:
        metrics["categories"] = dataclasses.asdict(result.classes["d"])
    return metrics


def table(metrics: Mapping[str, Any]) -> Table:
    """Makes the table of what each code tells of each factor."""
    rows = metrics["information"]
    factors = list(next(iter(rows.values()), {}))
    rows_of_codes = Table(title="Information in the generated images, nats")
    rows_of_codes.add_column("code")
    for factor in factors:
        rows_of_codes.add_column(factor, justify="right")
    for code, row in rows.items():
        rows_of_codes.add_row(code, *(f"{row[factor]:.2f}" for factor in factors))
    return rows_of_codes


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Tells what came out, and which number to trust."""
    numbers, lines = metrics["generator"], []
    if "categories" in metrics:
        accuracy = metrics["categories"]["accuracy"]
        lines.append(
            f"The category tells the digit in {100 * accuracy:.1f} % of the images (the paper: "
            f"{100 * PAPER:.0f} %)."
        )
    for code, row in metrics["information"].items():
        if code != "d":
            factor = max(row, key=lambda name: row[name])
            lines.append(f"Code {code} tells most of the {factor}: {row[factor]:.2f} nats.")
    lines.append(
        "Trust these numbers: they are measured on the images, and no guide takes part. The bounds "
        f"in the training are the guide's own (mi/c {metrics['test']['mi/c']:.2f})."
    )
    lines.append(
        f"The images lie {numbers['frechet']:.0f} from real ones (Fréchet distance; two halves of "
        f"real images {numbers['frechet_floor']:.0f}); the rarest digit makes "
        f"{100 * numbers['rarest']:.1f} % of them."
    )
    return lines


def doubt(numbers: Mapping[str, float]) -> str:
    """Says why the images can't stand for digits; nothing if they can."""
    if numbers["rarest"] < 0.01:
        return (
            f"the rarest digit makes {100 * numbers['rarest']:.1f} % of the images: the generator "
            "leaves digits out. Try another --seed, or more --steps"
        )
    if numbers["unmeasured"] > 0.01:
        return (
            f"{100 * numbers['unmeasured']:.1f} % of the images have no strokes that can be "
            "measured: train more --steps"
        )
    return ""
