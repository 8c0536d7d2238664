"""Means of posteriors, where there is a closed form and where there is none."""

from __future__ import annotations

import math

import numpy as np
import torch
from pyro import distributions as dist
from torch import Tensor

from pyro_mivae.distributions.correlated import CorrelatedSquashedNormal
from pyro_mivae.distributions.rotated import RotatedPairs
from pyro_mivae.distributions.squashed import LogitNormal

__all__ = ["posterior_mean"]

_NODES = 64
_STEP = 0.5


def posterior_mean(q: dist.Distribution) -> Tensor:
    r"""Computes the mean of a guide's distribution, also of those that have no ``mean``.

    The mean of a :class:`LogitNormal`, alone or in one of the library's families (independent
    dimensions, a full covariance, turned pairs), is taken by quadrature in double precision, of

    .. math:: \frac{\mathbb E[c] - \mathrm{low}}{\mathrm{high} - \mathrm{low}}
              = \mathbb E_y[\sigma(\mathrm{loc} + \mathrm{scale}\, y)]
              = \mathbb E_l\Bigl[\Phi\Bigl(\frac{\mathrm{loc} - l}{\mathrm{scale}}\Bigr)\Bigr]

    with a normal y (at a scale below 1) or a logistic l: the error is below 1e-9 at any scale. For
    all others it is their ``mean``. For codes to measure::

        with evaluation(vae, device=images.device):
            codes = posterior_mean(vae.guide.encode(vae.observe(images))["c"])

    Args:
        q: Distribution, of batch shape (N,) and event shape (dim,) for instance.

    Returns:
        The means, shaped as a draw.

    Raises:
        NotImplementedError: If the distribution is of another kind and has no ``mean``.
    """
    if isinstance(q, RotatedPairs):
        turned: Tensor = q.transforms[0]._call(posterior_mean(q.base_dist))
        return turned
    if isinstance(q, CorrelatedSquashedNormal):
        q = q.marginals
    base = q.base_dist if isinstance(q, dist.Independent) else q
    if not isinstance(base, LogitNormal):
        mean: Tensor = base.mean
        return mean
    loc, scale = base.base_dist.loc.double().unsqueeze(-1), base.base_dist.scale.double()
    share = torch.where(scale < 1, _narrow(loc, scale), _wide(loc, scale))
    to_interval = base.transforms[0]
    mean = to_interval.low + (to_interval.high - to_interval.low) * share
    return mean.to(base.base_dist.loc.dtype)


def _narrow(loc: Tensor, scale: Tensor) -> Tensor:
    """Computes the mean of the sigmoid of a normal by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    y = loc + scale.unsqueeze(-1) * loc.new_tensor(nodes)
    total: Tensor = (y.sigmoid() * loc.new_tensor(weights)).sum(-1)
    return total / math.sqrt(2 * math.pi)


def _wide(loc: Tensor, scale: Tensor) -> Tensor:
    """The same by the trapezoidal rule over the logistic variable."""
    logistic = torch.arange(-40.0, 40.0 + _STEP, _STEP, dtype=loc.dtype, device=loc.device)
    density = logistic.sigmoid() * (-logistic).sigmoid()
    below = torch.special.ndtr((loc - logistic) / scale.unsqueeze(-1))
    total: Tensor = (density * below).sum(-1)
    return _STEP * total
