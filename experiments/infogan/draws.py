"""Draws of a trained InfoGAN: samples, traversals and what is measured of them, as groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyro_mivae.gan import InfoGAN
from pyro_mivae.information import GeneratorInformation, ImageReader
from pyro_mivae.isolation import evaluation
from pyro_mivae.runs.groups import DRAWS, make_group, make_tree

QUANTILES = (0.02, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 0.98)
"""Quantiles of the prior at which a code stops in a traversal."""
PIXELS = ("height", "width")
SAMPLES = 100
"""Images that are kept, and draws that a response is averaged over."""


def draw(
    gan: InfoGAN, reader: ImageReader, result: GeneratorInformation, attrs: Mapping[str, Any]
) -> xr.DataTree:
    """Makes the groups of a run.

    ==================== ======================================================================
    prior                ``c``, ``z``, ``d``: chain, draw, dimension
    prior_predictive     ``x_mean`` and what is measured of it, ``thickness``, ``slant``,
                         ``width``, ``label``: chain, draw
    traversal            ``x_mean``: code, quantile, category, height, width; all other latents
                         are the same
    response             mean and deviation of each factor over draws of all else: code, quantile
    categories           share of the digits in the images of each category: category, label
    information          what :meth:`GeneratorInformation.to_xarray` has
    ==================== ======================================================================

    Args:
        gan: Trained pair.
        reader: Reader of images.
        result: What was measured of the same pair.
        attrs: Attributes of the tree.
    """
    device = gan.model.latent_loc.device
    with evaluation(gan, device=device):
        values = _sample(gan)
        images = _images(gan, values)
        groups = {
            "prior": make_group(
                {site: ((*DRAWS, f"{site}_dim"), value[None]) for site, value in values.items()}
            ),
            "prior_predictive": make_group(
                {
                    "x_mean": ((*DRAWS, *PIXELS), images[None]),
                    **{
                        name: (DRAWS, factor[None])
                        for name, factor in reader.read(_rounded(images)).table("label").items()
                    },
                }
            ),
            "traversal": _traversal(gan, values),
            "response": _response(gan, reader, values),
        }
    if "d" in result.classes:
        counts = np.asarray(result.classes["d"].counts, np.float64)
        shares = counts / counts.sum(1, keepdims=True).clip(1)
        labels = result.classes["d"].labels
        groups["categories"] = make_group(
            {"share": (("category", "label"), shares)}, {"label": labels}
        )
    groups["information"] = result.to_xarray()
    return make_tree(groups, dict(attrs))


def _sample(gan: InfoGAN) -> dict[str, Tensor]:
    return {site: prior().sample((SAMPLES,)) for site, prior in gan.priors.items()}


def _images(gan: InfoGAN, values: Mapping[str, Tensor]) -> Tensor:
    """The generator's images, (..., 28, 28), of latents by site."""
    images: Tensor = gan.model.decode(*(values[site] for site in gan.priors)).mean
    return images


def _rounded(images: Tensor) -> Tensor:
    return (255 * images.flatten(0, -3)).round().to(torch.uint8)


def _stops(gan: InfoGAN) -> Tensor:
    """Values of the continuous codes at the quantiles, (quantiles, code_dim)."""
    at = gan.model.latent_loc.new_tensor(QUANTILES)
    return gan.priors["c"].quantile(at, gan.priors["c"]().mean)


def _traversal(gan: InfoGAN, values: Mapping[str, Tensor]) -> xr.Dataset:
    """One code moves down a column; each category has a column, and all else is the same."""
    stops, middle = _stops(gan), _stops(gan)[len(QUANTILES) // 2]
    num_codes, num_categories = stops.shape[1], gan.num_categories
    lead = (num_codes, len(QUANTILES), max(1, num_categories))
    codes = middle.expand(*lead, num_codes).clone()
    for k in range(num_codes):
        codes[k, :, :, k] = stops[:, k, None]
    latents = {"c": codes, "z": values["z"][0].expand(*lead, -1)}
    if num_categories:
        latents["d"] = torch.eye(num_categories, device=codes.device).expand(*lead, -1)
    dims = ("code", "quantile", "category", *PIXELS)
    return make_group(
        {"x_mean": (dims, _images(gan, latents)), "value": (("quantile", "code"), stops)},
        {"quantile": QUANTILES},
    )


def _response(gan: InfoGAN, reader: ImageReader, values: Mapping[str, Tensor]) -> xr.Dataset:
    """What is measured where one code is set and all else is drawn."""
    stops = _stops(gan)
    num_codes = stops.shape[1]
    lead = (num_codes, len(QUANTILES), SAMPLES)
    latents = {site: value.expand(*lead, -1).clone() for site, value in values.items()}
    for k in range(num_codes):
        latents["c"][k, :, :, k] = stops[:, k, None]
    factors = reader.read(_rounded(_images(gan, latents))).factors
    variables: dict[str, tuple[Any, ...]] = {}
    for name, measured in factors.items():
        table = measured.reshape(lead)
        variables[name] = (("code", "quantile"), np.nanmean(table, -1))
        variables[f"{name}_sd"] = (("code", "quantile"), np.nanstd(table, -1))
    return make_group(variables, {"quantile": QUANTILES}, draws=SAMPLES)
