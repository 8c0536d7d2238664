"""What is read off images: measured factors, and the class that a trained classifier predicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_mivae.datasets import Split, measured
from pyro_mivae.datasets.cache import cached, fingerprint
from pyro_mivae.information.generator.pixels import Images, without_channel
from pyro_mivae.isolation import evaluation, forked_random

logger = logging.getLogger(__name__)

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Measure: TypeAlias = Callable[[Images], Mapping[str, Any]]
"""Measures uint8 images, (N, H, W): factors by name, (N,) each, NaN where there is none."""

VERSION = 1
"""Version of the network and its training, a part of the key under which it is cached."""

STROKES = ("thickness", "slant", "width")
FEATURES = 64
_BATCH = 1000


def strokes(images: Images) -> dict[str, Floats]:
    """Measures thickness, slant and width by :func:`pyro_mivae.morphometry.measure`."""
    from pyro_mivae import morphometry  # slow, and not every program measures

    measurements = morphometry.measure(images)
    return {name: measurements[name].values for name in STROKES}


class ClassNetwork(nn.Module):
    """Two convolutions of stride 2 and two linear layers.

    Args:
        image_shape: (height, width) or (channels, height, width).
        num_classes: Number of classes.
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        channels, height, width = (1, *image_shape)[-3:]
        self.image_shape = (channels, height, width)
        size = 32 * -(-height // 4) * -(-width // 4)
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(size, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps uint8 images to features (N, 64) and logits (N, classes)."""
        features: Tensor = self.trunk(images.reshape(-1, *self.image_shape) / 255.0)
        return features, self.head(features)


@dataclass(frozen=True, eq=False, repr=False)
class Readings:
    """What is read off N images.

    Attributes:
        factors: Measured factors by name, (N,) each; NaN where an image could not be measured.
        labels: Likeliest class of each image, (N,).
        certainty: Probability of this class, (N,).
        features: Features of the network before its last layer, (N, 64).
    """

    factors: Mapping[str, Floats]
    labels: Ints
    certainty: Floats
    features: Floats

    @property
    def measurable(self) -> NDArray[np.bool_]:
        """Whether each image has all factors, (N,)."""
        finite: NDArray[np.bool_] = np.isfinite(np.stack(list(self.factors.values())))
        return np.asarray(finite.all(0))

    def table(self, label: str) -> dict[str, Floats]:
        """Returns the factors and, under the name `label`, the classes, (N,) each."""
        return {**self.factors, label: self.labels.astype(np.float64)}

    def __repr__(self) -> str:
        return (
            f"Readings of {len(self.labels)} images: {', '.join(self.factors)} of "
            f"{int(self.measurable.sum())}, certainty of the class {self.certainty.mean():.3f}"
        )


@dataclass(frozen=True, eq=False)
class ImageReader:
    """A reader of images: it measures factors, and a trained network predicts the class.

    Attributes:
        network: The trained network.
        classes: The classes, ascending.
        accuracy: Share of the test images that are classified correctly.
        num_test: Number of test images.
        measure: Function that measures factors.
        real: Readings of the real test images, which generated images are compared with.
    """

    network: ClassNetwork
    classes: Ints
    accuracy: float
    num_test: int
    measure: Measure
    real: Readings

    def read(self, images: Tensor | Images) -> Readings:
        """Reads uint8 images, (N, H, W) or (N, channels, H, W)."""
        return _read(self.network, self.classes, images, self.measure)

    def __repr__(self) -> str:
        return (
            f"ImageReader({len(self.classes)} classes, {100 * self.accuracy:.1f} % of "
            f"{self.num_test} test images right, measures {', '.join(self.real.factors)})"
        )


def train_reader(
    images: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    test_images: Tensor | NDArray[Any],
    test_labels: Tensor | NDArray[Any],
    *,
    measure: Measure = strokes,
    steps: int = 1000,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> ImageReader:
    """Trains a small convolutional classifier on real images, once.

    The weights are kept in the cache, under everything that they depend on. The random state stays
    as it was. On digits the default takes about 20 seconds of one core.

    Args:
        images: Real images to train on, uint8 (N, H, W) or (N, channels, H, W); `measure` is given
            grey ones as (N, H, W).
        labels: Their classes, integers (N,).
        test_images: Real images to test on. Generated images are compared with these, so that
            there should be some thousands.
        test_labels: Their classes, integers.
        measure: Function that measures factors; by default thickness, slant and width of strokes.
        steps: Number of steps of Adam.
        batch_size: Images in a step.
        seed: Seed of weights and batches.
        cache_dir: Folder of the cache; by default ``~/.cache/pyro_mivae``.

    Raises:
        ValueError: If images and labels do not fit, or there are fewer than two classes.
    """
    images, labels, test_images, test_labels = (
        torch.as_tensor(given).detach().cpu()
        for given in (images, labels, test_images, test_labels)
    )
    images, test_images = without_channel(images), without_channel(test_images)
    _check(images, labels, "images, labels")
    _check(test_images, test_labels, "test_images, test_labels")
    if images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"test_images: expected the size of images, {tuple(images.shape[1:])}, found "
            f"{tuple(test_images.shape[1:])}"
        )
    if min(steps, batch_size) < 1:
        raise ValueError(f"steps, batch_size: expected at least 1, found {steps} and {batch_size}")
    classes, numbers = torch.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: expected at least two classes, found {classes.tolist()}")
    settings = (VERSION, steps, batch_size, seed)
    key = fingerprint(*settings, images.numpy(), numbers.numpy())

    def make() -> dict[str, NDArray[Any]]:
        logger.info("training the classifier of images")
        network = _train(images, numbers, len(classes), steps, batch_size, seed)
        return {name: value.numpy() for name, value in network.state_dict().items()}

    arrays = cached("reader", key, make, folder=cache_dir)
    with forked_random(images.device):
        network = ClassNetwork(tuple(images.shape[1:]), len(classes))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    network.eval()
    known = classes.numpy().astype(np.int64)
    real = _read(network, known, test_images, _kept(measure, test_images, test_labels, cache_dir))
    accuracy = float((real.labels == test_labels.numpy()).mean())
    return ImageReader(network, known, accuracy, len(test_images), measure, real)


def _kept(measure: Measure, images: Tensor, labels: Tensor, folder: str | Path | None) -> Measure:
    """The same measure of real images, which takes strokes from the cache."""
    if measure is not strokes:
        return measure
    kept = measured(Split(images, labels), cache_dir=folder)
    return lambda _: {name: kept[name].values for name in STROKES}


def _train(
    images: Tensor, numbers: Tensor, num_classes: int, steps: int, batch_size: int, seed: int
) -> ClassNetwork:
    with forked_random(images.device), torch.enable_grad():
        torch.manual_seed(seed)
        network = ClassNetwork(tuple(images.shape[1:]), num_classes)
        optimizer = torch.optim.Adam(network.parameters(), weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1)
        order, place = torch.randperm(len(images)), 0
        for _ in range(steps):
            if place >= len(images):
                order, place = torch.randperm(len(images)), 0
            rows = order[place : place + batch_size]
            place += batch_size
            loss = F.cross_entropy(network(images[rows])[1], numbers[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network


def _read(
    network: ClassNetwork, classes: Ints, images: Tensor | Images, measure: Measure
) -> Readings:
    images = without_channel(torch.as_tensor(images).detach().cpu())
    if images.dtype != torch.uint8 or not len(images):
        raise ValueError(
            f"images: expected at least one image in uint8, found {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if (shape := (1, *images.shape[1:])[-3:]) != network.image_shape:
        raise ValueError(
            "images: expected (channels, height, width) of the images that the reader was trained "
            f"on, {network.image_shape}, found {shape}"
        )
    features, logits = [], []
    with evaluation(network, device=images.device):
        for batch in torch.split(images, _BATCH):
            one, other = network(batch)
            features.append(one)
            logits.append(other)
    probability, best = torch.cat(logits).double().softmax(-1).max(-1)
    factors = {
        name: np.asarray(values, np.float64) for name, values in measure(images.numpy()).items()
    }
    wrong = {name: values.shape for name, values in factors.items() if len(values) != len(images)}
    if wrong or not factors:
        raise ValueError(
            f"measure: expected factors by name, ({len(images)},) each, found {wrong or 'none'}"
        )
    labels = classes[best.numpy()]
    return Readings(factors, labels, probability.numpy(), torch.cat(features).double().numpy())


def _check(images: Tensor, labels: Tensor, names: str) -> None:
    if images.dtype != torch.uint8 or images.dim() not in (3, 4):
        raise ValueError(
            f"{names}: expected uint8 images, (N, height, width) or (N, channels, height, width), "
            f"found {images.dtype} of shape {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or not len(labels):
        raise ValueError(
            f"{names}: expected a whole number for each of the {len(images)} images, found "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
