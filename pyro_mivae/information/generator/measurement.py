"""Generator information: what images carry about the codes, drawn from their prior, behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.batches import Prepare, arguments
from pyro_mivae.disentanglement.classes import ClassMatch, match_classes
from pyro_mivae.disentanglement.inputs import Floats
from pyro_mivae.infer.dual.channel import Channel, check_channel
from pyro_mivae.information.estimate import Estimate
from pyro_mivae.information.generator.draws import Generator, draw_images
from pyro_mivae.information.generator.effects import total_effects
from pyro_mivae.information.generator.quality import ImageQuality, image_quality
from pyro_mivae.information.generator.reader import ImageReader, Readings
from pyro_mivae.information.generator.report import report, summary
from pyro_mivae.information.generator.scores import CodeInformation, code_information
from pyro_mivae.isolation import evaluation
from pyro_mivae.traces.sites import Codes, as_codes, as_names

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

LABEL = "label"
"""Name of the class that the reader predicts, among the factors."""


@dataclass(frozen=True, eq=False, repr=False)
class GeneratorInformation:
    """Information of a generator's codes about its images, and how these compare with real ones.

    Attributes:
        information: Information of each code with each factor of x', in nats, with null, ceiling,
            alignment and amount; None where too few images could be measured.
        effects: Total effects: what drawing a code anew, given its parents, and keeping all else
            changes, half its mean square over the variance of the real images; shape
            ``(codes, factors)``. NaN for a dimension of a site that does not factorise, as a
            ``Dirichlet``: such a code can't be drawn anew alone.
        effects_standard_errors: Their standard errors, likewise.
        effects_floor: The same with nothing drawn anew, shape ``(factors,)``: above 0 where pixels
            are drawn, or the model draws what is no site.
        quality: Comparison with the real images.
        classes: Match of each categorical code's values with the classes, by the code's name.
        codes: Names of the codes.
        factors: Names of the factors; the last is the class that the reader predicts.
        channel: How the images were made: their means, or drawn pixels.
        accuracy: Share of real test images that the reader classifies correctly.
        num_draws: Number of images.
        num_moved: Number of images whose codes were drawn anew.
    """

    information: CodeInformation | None
    effects: Floats
    effects_standard_errors: Floats
    effects_floor: Floats
    quality: ImageQuality
    classes: Mapping[str, ClassMatch]
    codes: tuple[str, ...]
    factors: tuple[str, ...]
    channel: Channel
    accuracy: float
    num_draws: int
    num_moved: int

    @property
    def alignment(self) -> Estimate | None:
        """The alignment A of two continuous codes with two factors, nats."""
        return None if self.information is None else self.information.alignment

    @property
    def amount(self) -> Estimate | None:
        """The amount M: the information of the better matching, nats."""
        return None if self.information is None else self.information.amount

    def to_xarray(self) -> xr.Dataset:
        """Makes a Dataset: matrices by ``code`` and ``factor``, and every single number."""
        import xarray as xr  # slow, and importing the library should not be

        both, nats = ("code", "factor"), {"units": "nats"}
        empty = np.full((len(self.codes), len(self.factors)), np.nan)
        info = self.information
        matrices = {
            "mi": empty if info is None else info.matrix.values,
            "mi_se": empty if info is None else info.standard_errors,
            "mi_null": empty if info is None else info.matrix.bias,
            "mi_within": empty if info is None else info.within,
        }
        ceilings = {
            "ceiling": empty[0] if info is None else np.diag(info.ceiling),
            "ceiling_within": empty[0] if info is None else info.within_ceiling,
        }
        variables: dict[str, Any] = {name: (both, m, nats) for name, m in matrices.items()}
        variables |= {name: ("factor", values, nats) for name, values in ceilings.items()}
        live = np.zeros(len(self.codes), np.bool_) if info is None else info.matrix.live
        distances = [*self.quality.distances.values(), self.quality.label_distance]
        variables |= {
            "live": ("code", live),
            "effect": (both, self.effects),
            "effect_se": (both, self.effects_standard_errors),
            "effect_floor": ("factor", self.effects_floor),
            "law_distance": ("factor", np.array(distances)),
        }
        coords = {"code": list(self.codes), "factor": list(self.factors)}
        return xr.Dataset(variables, coords, {"channel": self.channel}).assign(self.numbers())

    def to_dataframe(self) -> pd.DataFrame:
        """Makes a data frame with a row for each code and factor."""
        data = self.to_xarray()
        return data[
            [n for n in data.data_vars if data[n].dims == ("code", "factor")]
        ].to_dataframe()

    def numbers(self) -> dict[str, float]:
        """Lists the single numbers by name, for a row of a table; NaN for what is not defined."""
        info, nan = self.information, float("nan")
        estimates = {"alignment": self.alignment, "amount": self.amount}
        numbers: dict[str, float] = {}
        for name, estimate in estimates.items():
            numbers[name] = nan if estimate is None else estimate.mean
            numbers[f"{name}_se"] = nan if estimate is None else estimate.standard_error
        numbers["alignment_ceiling"] = nan if info is None else info.alignment_ceiling
        numbers["mig"] = nan if info is None else info.mig
        numbers["mig_ceiling"] = nan if info is None else info.mig_ceiling
        numbers |= {f"class_accuracy_{name}": float(m.accuracy) for name, m in self.classes.items()}
        quality = self.quality
        numbers |= {
            "frechet": quality.frechet,
            "frechet_floor": quality.frechet_floor,
            "frechet_variance": quality.frechet_variance,
            "rarest": quality.rarest,
            "certainty": quality.certainty,
            "certainty_real": quality.certainty_real,
            "unmeasured": quality.unmeasured,
            "reader_accuracy": self.accuracy,
        }
        return numbers

    def __repr__(self) -> str:
        return summary(self)

    def __str__(self) -> str:
        return report(self)


def generator_information(
    model: Any,
    *args: Any,
    reader: ImageReader,
    channel: Channel | None = None,
    codes: str | Iterable[str] | Codes | None = None,
    observed: str | Iterable[str] = (),
    site: str | None = None,
    prepare: Prepare | None = None,
    to_images: Callable[[Tensor], Tensor] | None = None,
    pair: tuple[str, str] = ("thickness", "slant"),
    num_draws: int = 5000,
    num_moved: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> GeneratorInformation:
    r"""Measures the information of codes drawn from their prior about the images made from them.

    No guide takes part, so that a GAN, a VAE and any other model that generates images are measured
    in the same way: images are made from draws of the prior and rounded to 8 bits, factors are
    measured and the reader predicts the class. The result has the information between each code
    and each factor, total effects, and the quality of the images.

    Under ``channel="mean"`` the images are the means of x', under ``"sample"`` they are drawn. On
    drawn binary pixels speckle breaks the skeleton of strokes, so that thickness is not that of
    digits: measure the means of a VAE, and say so.

    Args:
        model: A Pyro model that generates images at an observed site.
        args: Its arguments. Only the number of data and covariates matter: the model runs as often
            as it takes for `num_draws` images.
        reader: Reader of images, from :func:`~pyro_mivae.information.train_reader`.
        channel: ``"mean"`` or ``"sample"``, how x' is generated; no default.
        codes: Code sites, as in :class:`~pyro_mivae.infer.TraceMI_ELBO`; None for all latent sites.
        observed: Observed sites that keep their data (covariates).
        site: Name of the site of the images, where several are generated. Under
            ``channel="mean"`` the others have their means, too: name what is drawn in `observed`,
            or take ``"sample"``, where the images depend on one of them.
        prepare: Makes the model's arguments from `args`, as in :func:`~pyro_mivae.training.fit`.
        to_images: Function from x' to images (N, H, W) with grey values from 0 (paper) to 1 (ink).
            Without it x' is taken as it is, and cut off at 0 and 1.
        pair: Names of the two factors T and S of the alignment.
        num_draws: Number of images.
        num_moved: Number of images for which each code is drawn anew.
        seed: Seed of all draws and permutations.
        kwargs: Keyword arguments of the model.

    Raises:
        TypeError: If `channel` is left out.
        ValueError: If a setting does not fit, a code is no latent site with a value for each image,
            or x' has no images in [0, 1].

    References:
        Chen et al. (2016), *InfoGAN*, for codes of a generator; Castro et al. (2019),
        *Morpho-MNIST*, for the factors.

    Example:
        >>> reader = train_reader(images, labels, test_images, test_labels)
        >>> generator_information(
        ...     vae.model, x, reader=reader, channel="mean", codes=vae.codes
        ... )
    """
    channel = check_channel(channel)
    if channel not in ("mean", "sample"):
        raise ValueError(
            f"channel: expected 'mean' or 'sample', since gradients play no part, found {channel!r}"
        )
    if not 2 <= num_moved <= num_draws:
        raise ValueError(
            "num_draws, num_moved: expected at least 2 images moved, of at most num_draws, found "
            f"num_draws={num_draws}, num_moved={num_moved}"
        )
    if LABEL in reader.real.factors or not set(pair) <= reader.real.factors.keys():
        raise ValueError(
            f"pair: expected two of the factors that the reader measures, "
            f"{list(reader.real.factors)}, none of them called '{LABEL}', found {pair}"
        )
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    device = tensors[0].device if tensors else torch.get_default_device()
    with evaluation(model, device=device, seed=seed):
        call = arguments(args, prepare)
        named = as_codes(codes), as_names(observed)
        generator = Generator(model, call, kwargs, channel, *named, site, to_images)
        draws = draw_images(generator, num_draws=num_draws, num_moved=num_moved)
    readings = reader.read(draws.images)
    first = {name: values[:num_moved] for name, values in readings.table(LABEL).items()}
    real = reader.real.table(LABEL)
    moved = [reader.read(images).table(LABEL) for images in draws.moved]
    effects, errors = total_effects(first, moved, real, label=LABEL)
    bound = [not column.free for column in draws.columns]
    effects[bound], errors[bound] = np.nan, np.nan
    floor = np.zeros(len(first))
    if draws.again is not None:
        again = reader.read(draws.again).table(LABEL)
        floor = total_effects(first, [again], real, label=LABEL)[0][0]
    names = tuple(column.name for column in draws.columns)
    kinds = [column.categories for column in draws.columns]
    return GeneratorInformation(
        information=_information(draws.codes, readings, names, kinds, pair, seed),
        effects=effects,
        effects_standard_errors=errors,
        effects_floor=floor,
        quality=image_quality(readings, reader.real, reader.classes, seed=seed),
        classes={
            name: match_classes(column.astype(np.int64), readings.labels, kind)
            for name, kind, column in zip(names, kinds, draws.codes.T, strict=True)
            if kind
        },
        codes=names,
        factors=tuple(first),
        channel=channel,
        accuracy=reader.accuracy,
        num_draws=num_draws,
        num_moved=num_moved,
    )


_BINS = 20


def _information(
    codes: Floats,
    readings: Readings,
    names: tuple[str, ...],
    kinds: list[int],
    pair: tuple[str, str],
    seed: int,
) -> CodeInformation | None:
    """None where too few images could be measured for the bins."""
    if readings.measurable.sum() < 2 * _BINS:
        return None
    return code_information(
        codes,
        readings.table(LABEL),
        label=LABEL,
        categories=kinds,
        code_names=names,
        pair=pair,
        bins=_BINS,
        seed=seed,
    )
