"""Measurements of a trained VAE: the bounds under the model, the information under the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from experiments.mnist.metrics import evaluate_channels
from pyro_mivae.information import Estimate, aggregate_information, sandwich
from pyro_mivae.progress import part
from pyro_mivae.runs import groups
from pyro_mivae.training import refit_guide
from pyro_mivae.vae import MIVAE

OWN, REFITTED = "own", "refitted"


def codes_of(vae: MIVAE) -> dict[str, list[str]]:
    """Lists what counts as code: each site, and all of them."""
    sites = list(vae.priors)
    return {site: [site] for site in sites} | ({", ".join(sites): sites} if sites[1:] else {})


def under_the_model(
    vae: MIVAE,
    images: torch.Tensor,
    *,
    counts: Sequence[int],
    number: int,
    seed: int,
    guide: Any = None,
) -> dict[str, Any]:
    """Bounds on I(.; x') of each code over `number` generated images, by a guide or the VAE's."""
    size, calls = _calls(number)
    estimates: dict[str, list[Any]] = {}
    for names in codes_of(vae).values():
        bounds = sandwich(
            vae.model,
            vae.guide if guide is None else guide,
            vae.observe(images[:size]),
            codes=names,
            num_samples=list(counts),
            num_dual_particles=calls,
            seed=seed,
        )
        _, lower, upper = zip(*bounds.curve(), strict=True)
        _note(estimates, "lower", lower)
        _note(estimates, "upper", upper)
        _note(estimates, "barber_agakov", [bounds.barber_agakov])
    return estimates


def under_the_data(
    vae: MIVAE, images: torch.Tensor, *, num_data: Sequence[int], seed: int
) -> dict[str, Any]:
    """Measures I_q of each code for several numbers of images."""
    estimates: dict[str, list[Any]] = {}
    for names in codes_of(vae).values():
        aggregates = [
            aggregate_information(
                vae.guide, images[:n], codes=names, prepare=vae.observe, seed=seed
            )
            for n in num_data
        ]
        _note(estimates, "aggregate_information", [a.estimate for a in aggregates])
    return estimates


@dataclass(frozen=True)
class Sizes:
    """Numbers of draws, images and steps of a measurement.

    Attributes:
        num_samples: Numbers K of draws at which the bounds are noted, ascending.
        images: Generated images that the bounds are averaged over, at least.
        num_data: Numbers N of test images for the information under the data, ascending.
        refit_steps: Steps in which a copy of the guide is fitted; 0 leaves it out.
        refit_samples: Largest K with the refitted guide.
    """

    num_samples: Sequence[int]
    images: int
    num_data: Sequence[int]
    refit_steps: int
    refit_samples: int

    @property
    def parts(self) -> int:
        """The number of parts that progress bars are numbered by; two are the program's own."""
        return 6 if self.refit_steps else 4


def measure(
    vae: MIVAE, images: torch.Tensor, train: torch.Tensor, sizes: Sizes, *, seed: int
) -> xr.Dataset:
    """Measures the information of all codes from both sides, in nats per datum.

    Returns:
        By ``guide`` (the own, and one that is refitted), ``codes`` and ``num_samples``: ``lower``
        and ``upper``, NaN where not measured; ``barber_agakov``. By ``codes`` and ``num_data``:
        ``aggregate_information``. By ``codes``, on all test images: ``kl``, ``bound`` and
        ``score``. Standard errors end in ``_se``.
    """
    settings: dict[str, Any] = {"number": sizes.images, "seed": seed}
    with part(1, sizes.parts):
        by_guide = {OWN: under_the_model(vae, images, counts=sizes.num_samples, **settings)}
    if steps := sizes.refit_steps:
        with part(2, sizes.parts):
            refitted = refit_guide(
                vae.model, vae.guide, train, steps=steps, prepare=vae.observe, seed=seed
            )
        fewer = [k for k in sizes.num_samples if k <= sizes.refit_samples] or sizes.num_samples[:1]
        with part(3, sizes.parts):
            by_guide[REFITTED] = under_the_model(
                vae, images, counts=fewer, guide=refitted, **settings
            )
    variables: dict[str, Any] = {}
    for name in by_guide[OWN]:
        rows = np.full((len(by_guide), *np.shape(by_guide[OWN][name])), np.nan)
        for row, estimates in zip(rows, by_guide.values(), strict=True):
            values = np.asarray(estimates[name])
            row[:, : values.shape[1]] = values
        dims: tuple[str, ...] = ("guide", "codes", "num_samples")
        if name.startswith("barber"):
            rows, dims = rows[..., 0], dims[:2]
        variables[name] = (dims, rows, groups.NATS)
    with part(sizes.parts - 2, sizes.parts):
        under = under_the_data(vae, images, num_data=sizes.num_data, seed=seed)
    for name, values in under.items():
        variables[name] = (("codes", "num_data"), values, groups.NATS)
    terms = evaluate_channels(vae, images)
    for name, column in (("kl", "kl/{}"), ("score", "mi/{}/mean"), ("bound", "mi/{}/sample")):
        totals = [sum(terms[column.format(s)] for s in sites) for sites in codes_of(vae).values()]
        variables[name] = (("codes",), totals, groups.NATS)
    coords: dict[str, Sequence[Any]] = {
        "guide": list(by_guide),
        "codes": list(codes_of(vae)),
        "num_samples": sizes.num_samples,
        "num_data": sizes.num_data,
    }
    generated = math.prod(_calls(sizes.images))
    return groups.make_group(variables, coords, generated_images=generated, test_images=len(images))


def _calls(number: int) -> tuple[int, int]:
    """Data in a call, few for draws to run in parallel, and calls for at least `number` of them."""
    size = min(100, number)
    return size, -(-number // size)


def _note(columns: dict[str, list[Any]], name: str, estimates: Any) -> None:
    columns.setdefault(name, []).append([e.mean for e in estimates])
    columns.setdefault(f"{name}_se", []).append([e.standard_error for e in estimates])


def last(curves: xr.Dataset, name: str, guide: str, code: str) -> Estimate:
    """Returns the bound at the largest number of samples that was measured with a guide."""
    one = curves.sel(guide=guide, codes=code)
    place = int(np.flatnonzero(~np.isnan(one[name].values))[-1])
    return Estimate(*(float(one[column][place]) for column in (name, f"{name}_se")))
