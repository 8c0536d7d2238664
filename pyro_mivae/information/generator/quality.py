"""How generated images compare with real ones: distances of features and of factors' laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, stats

from pyro_mivae.disentanglement.inputs import Floats, Ints, as_array
from pyro_mivae.information.generator.reader import Readings
from pyro_mivae.information.generator.report import quality_lines


@dataclass(frozen=True, repr=False)
class ImageQuality:
    """The quality of generated images beside real ones.

    Attributes:
        frechet: Fréchet distance of the network's features from those of the real images. Its scale
            is that of the network: compare models by one reader.
        frechet_floor: The same of one half of the real images from the other half: what a perfect
            generator would reach with half as many images.
        frechet_variance: Variance of the real features, summed: what a generator of one average
            image has as its distance.
        distances: Kolmogorov-Smirnov distance of each factor's law from that of the real images, by
            name; NaN where none could be measured.
        label_distance: Total variation distance of the classes' shares from those of real images.
        shares: Share of the generated images in each class.
        certainty: Mean probability of the predicted class.
        certainty_real: The same of the real images.
        unmeasured: Share of the generated images that could not be measured.
        num_images: Number of generated images.
        num_real: Number of real images.
    """

    frechet: float
    frechet_floor: float
    frechet_variance: float
    distances: Mapping[str, float]
    label_distance: float
    shares: Mapping[int, float]
    certainty: float
    certainty_real: float
    unmeasured: float
    num_images: int
    num_real: int

    @property
    def rarest_class(self) -> int:
        """The class with the fewest images."""
        return min(self.shares, key=lambda label: self.shares[label])

    @property
    def rarest(self) -> float:
        """The share of the rarest class."""
        return self.shares[self.rarest_class]

    def __repr__(self) -> str:
        head = f"ImageQuality of {self.num_images} images beside {self.num_real} real ones"
        return "\n".join([head, *quality_lines(self)])


def image_quality(
    generated: Readings, real: Readings, classes: Ints, *, seed: int = 0
) -> ImageQuality:
    """Compares what was read off generated images with what was read off real ones.

    Args:
        generated: Readings of generated images.
        real: Readings of real images by the same reader.
        classes: All classes.
        seed: Seed of the halves of the real images.
    """
    shares, real_shares = (_shares(readings.labels, classes) for readings in (generated, real))
    order = np.random.default_rng(seed).permutation(len(real.labels))
    halves = np.array_split(real.features[order], 2)
    enough = min(len(half) for half in halves) > 1
    return ImageQuality(
        frechet=frechet_distance(generated.features, real.features),
        frechet_floor=frechet_distance(*halves) if enough else float("nan"),
        frechet_variance=float(real.features.var(0).sum()),
        distances={
            name: law_distance(values, real.factors[name])
            for name, values in generated.factors.items()
        },
        label_distance=float(np.abs(shares - real_shares).sum() / 2),
        shares=dict(zip(classes.tolist(), shares.tolist(), strict=True)),
        certainty=float(generated.certainty.mean()),
        certainty_real=float(real.certainty.mean()),
        unmeasured=float(1 - generated.measurable.mean()),
        num_images=len(generated.labels),
        num_real=len(real.labels),
    )


def frechet_distance(features: Any, other: Any) -> float:
    r"""Computes the Fréchet distance of two normals with the moments of two sets of features.

    .. math:: |\mu_1 - \mu_2|^2 + \operatorname{tr}(\Sigma_1 + \Sigma_2
        - 2 (\Sigma_1^{1/2} \Sigma_2 \Sigma_1^{1/2})^{1/2})

    It is too high with few images; compare sets of equal size.

    Args:
        features: Shape ``(N, features)``.
        other: Shape ``(M, features)``.

    Raises:
        ValueError: If there are fewer than two of either, or numbers of features differ.

    References:
        Dowson and Landau (1982), *The Fréchet distance between multivariate normal distributions*;
        Heusel et al. (2017), *GANs trained by a two time-scale update rule converge to a local Nash
        equilibrium*, for features of a network.
    """
    one, two = as_array(features, "features", 2), as_array(other, "other", 2)
    if min(len(one), len(two)) < 2 or one.shape[1] != two.shape[1]:
        raise ValueError(
            "features, other: expected at least two rows each and equal numbers of features, found "
            f"the shapes {one.shape} and {two.shape}"
        )
    first, second = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (one, two))
    values, vectors = linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    product = np.maximum(linalg.eigvalsh(root @ second @ root), 0.0)
    shift = one.mean(0) - two.mean(0)
    distance = shift @ shift + np.trace(first) + np.trace(second) - 2 * np.sqrt(product).sum()
    return max(float(distance), 0.0)


def law_distance(values: Floats, other: Floats) -> float:
    """Computes the Kolmogorov-Smirnov distance of two samples; NaN where one is not measured."""
    one, two = (sample[np.isfinite(sample)] for sample in (values, other))
    if not len(one) or not len(two):
        return float("nan")
    return float(stats.ks_2samp(one, two, method="asymp").statistic)


def _shares(labels: Ints, classes: Ints) -> Floats:
    shares: Floats = (labels[:, None] == classes).mean(0)
    return shares
