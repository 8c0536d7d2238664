"""A VAE as ArviZ's groups: draws, predictions, densities, traversals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from pyro.distributions import Distribution
from torch import Tensor

from pyro_mivae.inference_data.draws import from_pair
from pyro_mivae.isolation import evaluation
from pyro_mivae.runs.groups import (
    DRAWS,
    IMAGE,
    NATS,
    from_run,
    make_group,
    make_tree,
    read,
    write,
)
from pyro_mivae.vae import MIVAE

__all__ = ["QUANTILES", "from_pair", "from_run", "inference_data", "read", "write"]

QUANTILES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
"""Probabilities at which a traversal stops."""

_ROWS = 5
"""Draws from the prior that are shown with every category."""


def inference_data(
    vae: MIVAE,
    x: Tensor,
    *,
    labels: Tensor | None = None,
    images: Tensor | None = None,
    draws: int = 20,
    prior_draws: int = 100,
    predictive_draws: int = 1,
    quantiles: Sequence[float] = QUANTILES,
    traversal_image: int = 0,
    information: xr.Dataset | None = None,
    attrs: Mapping[str, str | float] | None = None,
    seed: int = 0,
) -> xr.DataTree:
    """Draws from prior and posterior of a :class:`~pyro_mivae.vae.MIVAE`, with what they predict.

    Modules run in evaluation mode and the random state is forked and seeded: two calls agree, and
    nothing of a training changes. The groups, where ``z`` is as ``c``, with ``z_dim``, and ``d``,
    the category of a VAE that has one, too (one-hot):

    ==================== ========================================================================
    prior                ``c``: chain, draw, c_dim
    prior_predictive     ``x`` and its mean ``x_mean``: chain, draw, height, width; here and below
                         chain, draw, plane, height, width for images with channels
    posterior            ``c``: chain, draw, image, c_dim
    posterior_predictive ``x``, ``x_mean``: chain, draw, image, height, width; only of the first
                         `predictive_draws` draws, as its attribute ``note`` says
    observed_data        ``x``: image, height, width
    constant_data        ``label``: image; ``grey``, uint8: image, height, width
    log_likelihood       ``x``: log p(x|c, z), chain, draw, image
    sample_stats         ``lp``: log p(x, c, z) and ``log_q``: log q(c, z|x), chain, draw, image;
                         ``kl_c``: image, analytic or a mean of the draws (attribute
                         ``estimator``); ``q_d``, the probabilities: image, d_dim
    traversal            ``x_mean``: c_dim, quantile, height, width. One code dimension moves over
                         the prior's quantiles (``value``: c_dim, quantile), everything else stays
                         at the posterior mean of one image, and the category at its likeliest
    categories           ``x_mean``: row, d_dim, height, width. The category changes, everything
                         else stays at a draw from the prior
    information          ``kl_c``, ``aggregate_mi_c``, ...: c_dim; ``mi_c``: channel, c_dim
    ==================== ========================================================================

    Args:
        vae: Trained VAE, on the device of `x`.
        x: Data as the model reads them, shape ``(N, *image_shape)``.
        labels: Classes of the data, integers (N,).
        images: Grey or colour values of the data, uint8 ``(N, *image_shape)``.
        draws: Number of posterior draws for each image.
        prior_draws: Number of draws from the prior.
        predictive_draws: Number of posterior draws whose images are kept; images take most of the
            space.
        quantiles: Probabilities in (0, 1) at which the traversals stop.
        traversal_image: Index of the image from which the traversals start.
        information: Result of :func:`pyro_mivae.information.per_dimension`.
        attrs: Attributes of the tree, for example the data set and which of its images these are.
        seed: Seed of the draws.

    Raises:
        ValueError: If an argument does not fit.
    """
    _check(vae, x, labels, images, quantiles, traversal_image)
    if min(draws, prior_draws) < 1 or not 1 <= predictive_draws <= draws:
        raise ValueError(
            "draws and prior_draws must be at least 1, predictive_draws from 1 to draws; found "
            f"draws={draws}, prior_draws={prior_draws}, predictive_draws={predictive_draws}"
        )
    decode = vae.model.decode
    pixels = IMAGE[1:] if len(vae.image_shape) == 2 else ("plane", *IMAGE[1:])
    image = ("image", *pixels)
    with evaluation(vae, device=x.device, seed=seed):
        p = {site: prior() for site, prior in vae.priors.items()}
        imagined = {site: p[site].sample((prior_draws,)) for site in p}
        q = vae.guide.encode(x)
        latents = {site: q[site].sample((draws,)) for site in p}
        log_q = {site: q[site].log_prob(value) for site, value in latents.items()}
        log_p = {site: p[site].log_prob(value) for site, value in latents.items()}
        # One draw of all images at a time: all at once would take much memory.
        each_draw = zip(*latents.values(), strict=True)
        log_likelihood = torch.stack([decode(*values).log_prob(x) for values in each_draw])
        kept = [value[:predictive_draws] for value in latents.values()]
        start = {site: value[:, traversal_image].mean(0) for site, value in latents.items()}
        if "d" in start:
            start["d"] = q["d"].mode[traversal_image]
        values = vae.priors["c"].quantile(start["c"].new_tensor(quantiles), start["c"]).T
        stops: dict[str, Any] = {
            "x_mean": (("c_dim", "quantile", *pixels), decode(*_traverse(start, values)).mean),
            "value": (("c_dim", "quantile"), values),
        }
        densities = {"lp": log_likelihood + _total(log_p), "log_q": _total(log_q)}
        stats: dict[str, Any] = {
            name: ((*DRAWS, "image"), value[None], NATS) for name, value in densities.items()
        }
        for site in p:
            try:
                kl, estimator = torch.distributions.kl_divergence(q[site], p[site]), "analytic"
            except NotImplementedError:
                kl, estimator = (log_q[site] - log_p[site]).mean(0), "mean of the draws"
            stats[f"kl_{site}"] = ("image", kl, {**NATS, "estimator": estimator})
        if "d" in p:
            stats["q_d"] = (("image", "d_dim"), q["d"].probs)
        groups = {
            "prior": make_group(
                {s: ((*DRAWS, f"{s}_dim"), _compact(v)[None]) for s, v in imagined.items()}
            ),
            "prior_predictive": _predictive(decode(*imagined.values()), pixels),
            "posterior": make_group(
                {s: ((*DRAWS, "image", f"{s}_dim"), _compact(v)[None]) for s, v in latents.items()}
            ),
            "posterior_predictive": _predictive(
                decode(*kept), image, note=f"the first {predictive_draws} of {draws} draws only"
            ),
            "observed_data": make_group({"x": (image, _compact(x))}),
            "log_likelihood": make_group({"x": ((*DRAWS, "image"), log_likelihood[None], NATS)}),
            "sample_stats": make_group(stats),
            "traversal": make_group(stops, {"quantile": quantiles}, image=traversal_image),
        }
        if "d" in p:
            images_of = decode(*_each_category(imagined)).mean
            groups["categories"] = make_group({"x_mean": (("row", "d_dim", *pixels), images_of)})
    constant = {"label": ("image", labels), "grey": (image, images)}
    groups["constant_data"] = make_group({n: v for n, v in constant.items() if v[1] is not None})
    if information is not None:
        _check_information(information, {site: prior.dim for site, prior in vae.priors.items()})
        groups["information"] = information
    return make_tree(groups, attrs or {})


def _predictive(px: Distribution, dims: tuple[str, ...], **attrs: Any) -> xr.Dataset:
    arrays = {"x_mean": px.mean, "x": _compact(px.sample())}
    variables = {name: ((*DRAWS, *dims), value[None]) for name, value in arrays.items()}
    return make_group(variables, **attrs)


def _compact(x: Tensor) -> Tensor:
    """Binary images as signed bytes (ArviZ plots no unsigned ones), others as they are."""
    return x.to(torch.int8) if bool(((x == 0) | (x == 1)).all()) else x


def _total(log_probs: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(log_probs.values())).sum(0)


def _traverse(start: Mapping[str, Tensor], values: Tensor) -> list[Tensor]:
    """Latents (c_dim, quantile, dim): in row d, code dimension d takes its values."""
    moved = {site: value.expand(*values.shape, -1).clone() for site, value in start.items()}
    row = torch.arange(len(values), device=values.device)
    moved["c"][row, :, row] = values
    return list(moved.values())


def _each_category(imagined: Mapping[str, Tensor]) -> list[Tensor]:
    """The first draws with each category, (row, category, dim)."""
    every = torch.eye(imagined["d"].shape[-1]).to(imagined["d"])
    rows = {site: value[:_ROWS, None] for site, value in imagined.items()}
    rows["d"] = every[None]
    return list(rows.values())


def _check_information(information: xr.Dataset, sizes: Mapping[str, int]) -> None:
    for site, size in sizes.items():
        measured = information.sizes.get(f"{site}_dim", size)
        if measured != size:
            raise ValueError(
                f"information: expected {size} dimensions of site '{site}' in '{site}_dim', found "
                f"{measured}: is it of another model?"
            )
    unknown = {str(v.attrs["site"]) for v in information.data_vars.values() if "site" in v.attrs}
    if unknown - sizes.keys() or not information.data_vars:
        raise ValueError(
            f"information: expected what pyro_mivae.information.per_dimension() returns for the "
            f"sites {list(sizes)}, found the variables {list(information.data_vars)}"
        )


def _check(
    vae: MIVAE,
    x: Tensor,
    labels: Tensor | None,
    images: Tensor | None,
    quantiles: Sequence[float],
    traversal_image: int,
) -> None:
    shape = tuple(vae.image_shape)
    if tuple(x.shape[1:]) != shape or len(x) == 0 or not x.is_floating_point():
        raise ValueError(
            f"x: expected floats of shape (N, {', '.join(map(str, shape))}) as the model reads "
            f"them, found {x.dtype} of shape {tuple(x.shape)}; vae.observe(images) makes them"
        )
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(
            f"labels: expected shape ({len(x)},), one for each image of x, found "
            f"{tuple(labels.shape)}"
        )
    if images is not None and (images.shape != x.shape or images.dtype != torch.uint8):
        raise ValueError(
            f"images: expected uint8 of the shape of x, {tuple(x.shape)}, found {images.dtype} of "
            f"shape {tuple(images.shape)}"
        )
    if not quantiles or not all(0 < probability < 1 for probability in quantiles):
        raise ValueError(f"quantiles: expected probabilities in (0, 1), found {list(quantiles)}")
    if not 0 <= traversal_image < len(x):
        raise ValueError(
            f"traversal_image: expected an index of x, 0 to {len(x) - 1}, found {traversal_image}"
        )
