"""Means of posteriors, where there is a closed form and where there is none."""

from __future__ import annotations

import math

import numpy as np
from pyro import distributions as dist
from torch import Tensor

from pyro_mivae.distributions.correlated import CorrelatedSquashedNormal
from pyro_mivae.distributions.rotated import RotatedPairs
from pyro_mivae.distributions.squashed import LogitNormal

__all__ = ["posterior_mean"]

_NODES = 64


def posterior_mean(q: dist.Distribution) -> Tensor:
    r"""Computes the mean of a guide's distribution, also of those that have no ``mean``.

    The mean of a :class:`LogitNormal`, alone or in one of the library's families (independent
    dimensions, a full covariance, turned pairs), is taken by Gauss-Hermite quadrature at 64 nodes

    .. math:: \mathbb E[c] \approx \sum_k w_k\, \bigl(\mathrm{low}
              + (\mathrm{high} - \mathrm{low})\,\sigma(\mathrm{loc} + \mathrm{scale}\, y_k)\bigr)

    in double precision. For all others it is their ``mean``. For codes to measure::

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
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    loc, scale = base.base_dist.loc.double(), base.base_dist.scale.double()
    y = loc.unsqueeze(-1) + scale.unsqueeze(-1) * loc.new_tensor(nodes)
    total: Tensor = (base.transforms[0]._call(y) * loc.new_tensor(weights)).sum(-1)
    return (total / math.sqrt(2 * math.pi)).to(base.base_dist.loc.dtype)
