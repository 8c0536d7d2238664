"""What is measured of a trained InfoGAN, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.generator.measurements import numbers_of, quality, tellings
from pyro_mivae.datasets import Digits
from pyro_mivae.gan import InfoGAN
from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.information import GeneratorInformation
from pyro_mivae.training import evaluate

PAPER = 0.95
"""Class accuracy of the category that Chen et al. (2016) report for MNIST, sec. 7.2."""


def metrics_of(
    result: GeneratorInformation, gan: InfoGAN, elbo: TraceMI_GAN, digits: Digits
) -> dict[str, Any]:
    """Lists the measurements as plain values, for ``metrics.json``."""
    terms = evaluate(gan.model, gan.guide, elbo, digits.test.images, prepare=gan.observe)
    return {"test": terms, **numbers_of(result)}


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Tells what came out, and which number to trust."""
    lines = []
    if "categories" in metrics:
        accuracy = metrics["categories"]["accuracy"]
        lines.append(
            f"The class accuracy of the category is {100 * accuracy:.1f} % (the paper: "
            f"{100 * PAPER:.0f} %)."
        )
    lines += tellings(metrics["information"])
    lines.append(
        "Trust these numbers: they are measured on the images, and no guide takes part. The bounds "
        f"in the training are the guide's own (mi/c {metrics['test']['mi/c']:.2f})."
    )
    return [*lines, quality(metrics["generator"])]
