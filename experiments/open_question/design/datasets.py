"""The data sets of the study of priors and factors: the same images, with factors' laws exchanged.

What a code finds may depend on a factor's *law*, or on how much of the images it moves. The pairs
here differ in laws alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pyro_mivae.datasets.digits import Digits, load_digits
from pyro_mivae.datasets.factored import (
    FactorData,
    FactorSplit,
    make_split,
    pick,
    streams,
)
from pyro_mivae.datasets.laws import Law, Normal, Uniform
from pyro_mivae.datasets.reinked import reinked_digits
from pyro_mivae.datasets.rendered import sprites
from pyro_mivae.datasets.resampled import (
    effective_size,
    measured,
    resampled_digits,
    resampling_weights,
)

DataName = Literal["D0", "D1", "D2", "D1-control", "D2-control", "D3", "D4", "D5", "D6a", "D6b"]
LABEL = "label"


@dataclass(frozen=True)
class FactorSet:
    """The factors of some data sets: those exchanged, those a code may carry, those measured."""

    pair: tuple[str, str]
    """The two factors whose laws are exchanged, T and S."""
    factors: tuple[str, ...]
    """All that a code may carry information about, except the label."""
    moved: tuple[str, ...]
    """Factors that are measured of images that the model has made."""


STROKES = FactorSet(("thickness", "slant"), ("thickness", "slant"), ("thickness", "slant", "width"))
REAL = FactorSet(STROKES.pair, STROKES.moved, STROKES.moved)
"""Width depends on a re-inked digit's thickness and slant; of real ones it is a factor."""
SPRITES = FactorSet(("scale", "x"), ("scale", "x", "angle", "y"), ("scale", "x", "y"))


def factor_set_of(name: DataName) -> FactorSet:
    """Returns the factors of a data set."""
    if name.startswith("D6"):
        return SPRITES
    return STROKES if name in ("D3", "D4", "D5") else REAL


_RESAMPLED = Uniform(1.75, 4.0)
_THICKNESS = Uniform(1.5, 4.5)
_SLANT = Normal(0.1, 0.25, reach=1.0)
_SCALE = Uniform(5.0, 11.0)
_X = Normal(0.0, 1.5, reach=3.9)
# They vary, or the sprites would be few, but make less of the images than either of the two.
_NUISANCE: Mapping[str, Law] = {
    "angle": Normal(0.0, 0.1, reach=0.26),
    "y": Normal(0.0, 0.3, reach=0.78),
}

STUDY_LAWS: Mapping[str, Mapping[str, Law]] = {
    "D0": {},
    "D1": {"thickness": _RESAMPLED},
    "D1-control": {"thickness": _RESAMPLED},
    "D2": {"thickness": Normal.like(_RESAMPLED, reach=1.7)},
    "D2-control": {"thickness": Normal.like(_RESAMPLED, reach=1.7)},
    "D3": {"thickness": _THICKNESS, "slant": _SLANT},
    "D4": {"thickness": Normal.like(_THICKNESS, reach=2.25), "slant": Uniform.like(_SLANT)},
    "D5": {"thickness": _THICKNESS, "slant": Normal(0.1, 0.1, reach=0.4)},
    "D6a": {"scale": _SCALE, "x": _X, **_NUISANCE},
    "D6b": {"scale": Normal.like(_SCALE, reach=4.5), "x": Uniform.like(_X), **_NUISANCE},
}
"""The laws of the factors of each data set of :func:`study_data`, by its name.

Those of controls are the laws whose weights are permuted; their factors don't follow them.
"""


def study_data(
    name: str,
    *,
    seed: int = 0,
    num_train: int = 10_000,
    num_test: int = 10_000,
    digits: Digits | None = None,
    cache_dir: str | Path | None = None,
) -> FactorData:
    """Makes one of the study's data sets.

    ============== ================================================================================
    ``D0``         MNIST as it is; its factors are measured
    ``D1``         MNIST resampled to uniform thickness
    ``D2``         MNIST resampled to normal thickness, and to the effective size of D1
    ``D1-control`` the weights of D1 permuted within each digit: thickness keeps its law
    ``D2-control`` the weights of D2, likewise
    ``D3``         re-inked digits: thickness uniform, slant normal
    ``D4``         the laws exchanged: thickness normal, slant uniform
    ``D5``         as D3, but slant explains less of the pixels' variance than thickness
    ``D6a``        sprites: scale uniform, x normal
    ``D6b``        the laws exchanged: scale normal, x uniform
    ============== ================================================================================

    The laws are :data:`STUDY_LAWS`. In each pair a factor keeps its mean and its standard
    deviation. Normal laws are cut off symmetrically, at 2.6 standard deviations or farther. With
    one seed, data sets share all that their laws do not change: which digits are redrawn in which
    order, and the rank of every value of a factor.

    Of the variance of D3's pixels within a digit, slant explains 19 % and thickness 9 %, of D5's
    5 % and 11 % (made of MNIST); of D6a's within a shape, scale explains 38 % and x 29 %.
    Resampling needs many images: of the 500 test images of ``mnist-5k`` too few are thick.

    Args:
        name: Name of the data set.
        seed: Seed of order and draws.
        num_train: Number of training images.
        num_test: Number of test images.
        digits: Digits that D0 to D5 are made of; by default :func:`load_digits` is called.
        cache_dir: Folder in which drawn images and measurements are kept; by default
            ``~/.cache/pyro_mivae`` (``XDG_CACHE_HOME`` counts).

    Returns:
        Images, labels (digits, or shapes) and factors.

    Raises:
        ValueError: If there is no data set of this name, or a number is not positive.
    """
    if name not in STUDY_LAWS:
        raise ValueError(f"name: expected one of {', '.join(STUDY_LAWS)}, found {name!r}")
    if min(num_train, num_test) < 1:
        raise ValueError(f"expected positive numbers of images, found {num_train} and {num_test}")
    laws = STUDY_LAWS[name]
    if name.startswith("D6"):
        return sprites(laws=laws, num_train=num_train, num_test=num_test, seed=seed, name=name)
    digits = (load_digits() if digits is None else digits).to("cpu")
    if name == "D0":
        return _plain(digits, seed, num_train, num_test, cache_dir)
    if "slant" in laws:
        return reinked_digits(
            digits,
            thickness=laws["thickness"],
            slant=laws["slant"],
            num_train=num_train,
            num_test=num_test,
            seed=seed,
            cache_dir=cache_dir,
            name=name,
        )
    return resampled_digits(
        digits,
        law=laws["thickness"],
        num_train=num_train,
        num_test=num_test,
        share=_equal_share(digits, laws["thickness"], cache_dir),
        permuted=name.endswith("-control"),
        seed=seed,
        cache_dir=cache_dir,
        name=name,
    )


def _plain(
    digits: Digits, seed: int, num_train: int, num_test: int, cache_dir: str | Path | None
) -> FactorData:
    def make(part: str, number: int) -> FactorSplit:
        split = getattr(digits, part)
        (order,) = streams(seed, f"plain/{part}")
        rows = pick(number, len(split), order)
        factors = measured(split, cache_dir=cache_dir).isel(image=rows)
        size = effective_size(np.bincount(rows, minlength=len(split)).astype(np.float64))
        return make_split(split.images[rows], split.labels[rows], factors, rows, size)

    return FactorData(
        "D0", digits.source, {}, train=make("train", num_train), test=make("test", num_test)
    )


def _equal_share(digits: Digits, law: Law, cache_dir: str | Path | None) -> tuple[float, float]:
    """The part of each split to keep for the effective size that the less effective law has."""
    shares = []
    for split in (digits.train, digits.test):
        values, labels = measured(split, cache_dir=cache_dir)["thickness"].values, split.labels
        sizes = {
            other: effective_size(resampling_weights(values, labels.numpy(), other))
            for other in (STUDY_LAWS["D1"]["thickness"], STUDY_LAWS["D2"]["thickness"])
        }
        shares.append(min(sizes.values()) / sizes[law])
    return shares[0], shares[1]
