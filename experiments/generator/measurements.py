"""What is measured of a run's images, for InfoGAN and the VAEs alike, and its tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from pyro_mivae.batches import Prepare
from pyro_mivae.datasets import Digits
from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import Channel
from pyro_mivae.information import (
    GeneratorInformation,
    ImageReader,
    generator_information,
    train_reader,
)
from pyro_mivae.vae import MIVAE

FIRST_SEED = 10_000
"""Seed of the draws that are measured, less the seed of the run."""
REAL = 5000
"""Real images, at most, that generated ones are compared with."""
BATCH = 500
"""Images that are made at a time."""


def read_real(digits: Digits) -> ImageReader:
    """Trains the reader of images on the training images, and measures real ones beside."""
    images = torch.cat([digits.test.images, digits.validation.images])[:REAL]
    labels = torch.cat([digits.test.labels, digits.validation.labels])[:REAL]
    return train_reader(digits.train.images, digits.train.labels, images, labels)


def measure(
    pair: InfoGAN | MIVAE,
    images: Tensor,
    prepare: Prepare,
    reader: ImageReader,
    *,
    channel: Channel = "mean",
    draws: int,
    seed: int,
) -> GeneratorInformation:
    """Measures the information of the codes about the images that are made from them.

    Args:
        pair: Trained model, with the names of its codes.
        images: Images of the data's size; only their number and size matter.
        prepare: Makes the model's data of them.
        reader: Reader of images.
        channel: ``"mean"`` or ``"sample"``.
        draws: Number of images that are made.
        seed: Seed of the draws.
    """
    return generator_information(
        pair.model,
        images[: min(BATCH, draws)],
        reader=reader,
        channel=channel,
        codes=pair.codes,
        prepare=prepare,
        num_draws=draws,
        num_moved=max(2, min(1000, draws // 5)),
        seed=seed,
    )


def numbers_of(result: GeneratorInformation) -> dict[str, Any]:
    """Lists a measurement as plain values: single numbers, information, effects, categories.

    ``within`` is the information inside the images of one class, the mean over classes.
    """
    numbers: dict[str, Any] = {"generator": result.numbers(), "information": {}, "within": {}}
    if result.information is not None:
        numbers["information"] = _by_code(result, result.information.matrix.values)
        numbers["within"] = _by_code(result, result.information.within)
    numbers["effects"] = _by_code(result, result.effects)
    if "d" in result.classes:
        numbers["categories"] = dataclasses.asdict(result.classes["d"])
    return numbers


def _by_code(result: GeneratorInformation, matrix: Any) -> dict[str, dict[str, float]]:
    rows = zip(result.codes, matrix, strict=True)
    return {code: dict(zip(result.factors, map(float, row), strict=True)) for code, row in rows}


def table(rows: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """Makes the table of each code's information about each factor."""
    factors = list(next(iter(rows.values()), {}))
    rows_of_codes = Table(title=title)
    rows_of_codes.add_column("code")
    for factor in factors:
        rows_of_codes.add_column(factor, justify="right")
    for code, row in rows.items():
        rows_of_codes.add_row(code, *(f"{row[factor]:.2f}" for factor in factors))
    return rows_of_codes


def tellings(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Says which factor each continuous code carries most about."""
    lines = []
    for code, row in rows.items():
        if code != "d":
            factor = max(row, key=lambda name: row[name])
            lines.append(f"Code {code} carries most about the {factor}: {row[factor]:.2f} nats.")
    return lines


def quality(numbers: Mapping[str, float]) -> str:
    """Says how far the images are from real ones."""
    return (
        f"The images lie {numbers['frechet']:.0f} from real ones (Fréchet distance; two halves of "
        f"real images {numbers['frechet_floor']:.0f}); the rarest digit makes "
        f"{100 * numbers['rarest']:.1f} % of them."
    )


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
