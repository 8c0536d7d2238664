"""The information under the data: between a datum and its posterior's draw."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from pyro_mivae.batches import Data, Prepare
from pyro_mivae.checks import check_draws
from pyro_mivae.information.aggregate_densities import (
    Densities,
    aggregate_densities,
    blocks,
    by_site,
)
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.estimate import Estimate, in_lines, mean_and_error
from pyro_mivae.information.posteriors import Batch, posteriors
from pyro_mivae.traces.sites import Codes

logger = logging.getLogger(__name__)

_NEAR = 0.9
"""The share of log N from which on an information is called saturated."""


@dataclass(frozen=True, repr=False)
class AggregateInformation:
    """I_q(z; x) of N data, in nats.

    Attributes:
        estimate: The information of all code sites together.
        num_data: N.
        codes: Names of the code sites, z.
        dimension_information: I_q(z_d; x) by site, double precision, each of the site's event
            shape; sites whose marginals are not known are left out.
        dimension_information_standard_error: Likewise.
    """

    estimate: Estimate
    num_data: int
    dimension_information: dict[str, Tensor]
    dimension_information_standard_error: dict[str, Tensor]
    codes: tuple[str, ...] = ("z",)

    @property
    def limit(self) -> float:
        """The most that N data can have, log N."""
        return math.log(self.num_data)

    @property
    def saturated(self) -> bool:
        """Whether the information is within a tenth of its limit."""
        return self.estimate.mean > _NEAR * self.limit

    def __repr__(self) -> str:
        return in_lines(str(self) if self.saturated else f"{self} ({self.num_data} data)")

    def __str__(self) -> str:
        names = ", ".join(self.codes)
        text = f"I_q({names}; x) = {self.estimate} nats, of log N = {self.limit:.3f} at most"
        if not self.saturated:
            return text
        return (
            f"{text}: {self.num_data} data are too few to see more, and others like them have at "
            "least this much. Measure on more data, or single codes or dimensions"
        )


def aggregate_information(
    guide: Any,
    data: Data,
    *,
    codes: str | Iterable[str] | Codes | None = None,
    num_samples: int = 1,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AggregateInformation:
    r"""Measures the information between a datum, one of N alike, and a draw of its posterior.

    .. math::

        I_q(z; x) = \frac{1}{N} \sum_i \mathbb{E}_{q(z|x_i)}[\log q(z|x_i) - \log q(z)],
        \qquad q(z) = \frac{1}{N} \sum_j q(z|x_j)

    The mixture is exact, over all :math:`N^2` pairs; only the expectation over z is sampled, so
    that neither weights nor minibatches bias it. It needs no model. Scales and masks are left
    out, and a datum is all that is inside the data's plate.

    The information lies between 0 (an estimate may be below, by its error) and log N. For the
    population that the data are from it is too low, which the standard error does not cover: by
    about :math:`(\mathbb{E}[q(z|x) / q(z)] - 1) / 2N` where that is small, by some tenths of a nat
    from two thirds of log N on.

    Args:
        guide: A Pyro guide.
        data: Tensors of equal length N.
        codes: Names of the latent sites whose joint information is measured; None for all.
        num_samples: Draws per datum.
        batch_size: Data in a batch.
        prepare: Makes the guide's arguments from a batch.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Raises:
        ValueError: If a code is none of the guide's sites, is a point (``Delta``), depends on other
            latents in the guide, or is in no vectorised plate of the data; if a density is NaN.

    References:
        Hoffman and Johnson (2016), *ELBO surgery: yet another way to carve up the variational
        evidence lower bound*.
    """
    check_draws("num_samples", num_samples)
    batching = Batching.of(data, batch_size, prepare, seed, progress)
    with batching.evaluation(guide):
        run = [
            batch for _, batch in posteriors(guide, batching, codes=codes, num_samples=num_samples)
        ]
        return information(run, aggregate_densities(run, progress=progress))


def information(run: list[Batch], densities: Densities) -> AggregateInformation:
    """Computes the information from densities under the aggregate; warns if it is saturated."""
    num_data = sum(batch.count for batch in run)
    mean, error = mean_and_error(per_datum(densities.own_each - densities.each, num_data))
    result = AggregateInformation(
        Estimate.of(per_datum(densities.own - densities.joint, num_data)),
        num_data,
        by_site(mean, run[0]),
        by_site(error, run[0]),
        tuple(run[0].densities),
    )
    if result.saturated:
        logger.warning("saturated: %s", result)
    return result


def per_datum(terms: Tensor, num_data: int) -> Tensor:
    """Averages the draws of a datum: from ``(draws, ...)`` to ``(num_data, ...)``."""
    return terms.reshape(num_data, len(terms) // num_data, *terms.shape[1:]).mean(1)


def pairwise_information(
    guide: Any,
    data: Data,
    *,
    codes: str | Iterable[str] | Codes | None = None,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    r"""Measures the information between every two dimensions of the codes: are they independent?

    .. math:: I_q(z_a; z_b) = \mathbb{E}_{q(z)}[\log q(z_a, z_b) - \log q(z_a) - \log q(z_b)]

    Under the exact aggregate of all N data, of which z is drawn once per datum, as in
    :func:`aggregate_information`. Few data are a dependence of their own: it fades as 1 / N, and
    is large where two dimensions together identify most of the data.

    Args:
        guide: A Pyro guide that factorises over the codes' dimensions.
        data: Tensors of equal length N.
        codes: Names of latent sites; None for all.
        batch_size: Data in a batch.
        prepare: Makes the guide's arguments from a batch.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Returns:
        ``pairwise_mi`` and its standard error ``pairwise_mi_se``, nats, symmetric in ``dimension``
        and ``other``, with coordinates like ``"c[0]"``. NaN on the diagonal, where it is the
        entropy of a discrete code and infinite for others.

    Raises:
        ValueError: As in :func:`aggregate_information`, or if a site does not factorise.
    """
    batching = Batching.of(data, batch_size, prepare, seed, progress)
    with batching.evaluation(guide):
        run = [batch for _, batch in posteriors(guide, batching, codes=codes)]
        return pairwise(run, progress=progress)


def pairwise(run: list[Batch], *, progress: bool) -> xr.Dataset:
    """Computes :func:`pairwise_information` from the posteriors of all data, a draw of each."""
    for name, density in run[0].densities.items():
        if not density.factorised:
            raise ValueError(
                f"the posterior of site '{name}' does not factorise over its dimensions: "
                f"expected a univariate distribution with .to_event(), found {density.fn}"
            )
    total = squares = torch.zeros((), dtype=torch.float64)
    for _, densities, both in blocks(run, pairs=True, progress=progress):
        terms = both - densities.each[:, :, None] - densities.each[:, None, :]
        total, squares = total + terms.sum(0), squares + (terms**2).sum(0)
    num_data = sum(batch.count for batch in run)
    mean = total / num_data
    variance = (squares / num_data - mean**2).clamp(min=0) / (num_data - 1)
    names = [
        name + (f"[{','.join(map(str, index))}]" if index else "")
        for name, density in run[0].densities.items()
        for index in itertools.product(*map(range, density.event_shape))
    ]
    dims = ("dimension", "other")
    return xr.Dataset(
        {
            name: (dims, value.fill_diagonal_(math.nan).cpu().numpy(), {"units": "nats"})
            for name, value in {"pairwise_mi": mean, "pairwise_mi_se": variance.sqrt()}.items()
        },
        coords=dict.fromkeys(dims, names),
    )
