r"""Codes scored around the guide's mean with a standard deviation that is given.

InfoGAN (Chen et al. 2016, sec. 7 and appendix C) samples its continuous codes uniformly and scores
them by normals, whose standard deviation is 1 in its code. The term is then a squared error,

.. math:: \log N(c; μ(x'), s^2) - \log p(c)
    = -\frac{(c - μ(x'))^2}{2 s^2} - \log(s \sqrt{2π}) - \log p(c),

which moves the mean as the bound does, and has a top that no guide can exceed. For a code that is
uniform on (-1, 1) and s = 1 that is :math:`\log 2 - \log \sqrt{2π} = -0.226` nats, 1/6 above a code
that x' does not tell.
"""

from __future__ import annotations

import copy
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_mivae.infer.dual.channel import has_useful_mean
from pyro_mivae.infer.supports import is_discrete
from pyro_mivae.traces.sites import Dims, site_log_prob, unwrap


def check_one_sample(code_scale: Any, mi_weight: Any, num_dual_samples: int) -> None:
    """Refuses scales, and weights by site, together with several samples.

    Raises:
        ValueError: If `num_dual_samples` is above 1 and there is one of both.
    """
    if num_dual_samples == 1:
        return
    scales = code_scale.values() if isinstance(code_scale, dict) else [code_scale]
    if any(scale is not None for scale in scales):
        raise ValueError(
            "code_scale scores the code by another density than the guide draws it from, which the "
            "weights of num_dual_samples > 1 do not allow for: use one of the two"
        )
    if isinstance(mi_weight, dict):
        raise ValueError(
            "mi_weight by site weighs the shares of the sites, which num_dual_samples > 1 does not "
            "have, as it weighs draws of all codes together: use one number, or num_dual_samples=1"
        )


def code_log_prob(site: dict[str, Any], dims: Dims | None, scale: Any) -> Tensor:
    """Computes the scaled and masked log-probability of a code, or of some of its dimensions.

    Args:
        site: The guide's site of the code.
        dims: As in :func:`~pyro_mivae.traces.sites.site_log_prob`.
        scale: The standard deviation, a number or a tensor of shape ``()``, or None for the
            guide's own density.
    """
    if scale is None or is_discrete(site["fn"]):
        return site_log_prob(site, dims)
    return site_log_prob({**site, "fn": _around(site["fn"], scale, site["name"])}, dims)


def _around(fn: Any, scale: Any, site: str) -> Any:
    """Independent normals around the location of a distribution, with its wrappers."""
    if isinstance(fn, dist.MaskedDistribution):
        return _around(fn.base_dist, scale, site).mask(fn._mask)
    if isinstance(fn, torch.distributions.Independent):
        return _around(fn.base_dist, scale, site).to_event(fn.reinterpreted_batch_ndims)
    location = _location(fn, site).expand(fn.batch_shape + fn.event_shape)
    if isinstance(scale, Tensor):  # its number type must not win
        scale = scale.to(location.dtype)
    return dist.Normal(location, scale).to_event(fn.event_dim)


def _location(fn: Any, site: str) -> Tensor:
    """The mean, or where a map of a distribution with a mean takes this."""
    if has_useful_mean(fn):
        mean: Tensor = fn.mean
        return mean
    base = unwrap(fn)
    if not isinstance(base, torch.distributions.TransformedDistribution):
        raise ValueError(
            f"code_scale scores codes around the guide's mean, which the {type(base).__name__} of "
            f"site '{site}' has not: use code_scale=None"
        )
    location = _location(base.base_dist, site)
    for transform in base.transforms:
        # A map may remember its last draw, which this is none of.
        location = copy.copy(transform)(location)
    return location
