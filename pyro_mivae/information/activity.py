"""What dimensions are used for: how their posterior means vary, and what is lost without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_mivae.infer.dual.channel import has_useful_mean
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.dimension_terms import by_datum, pair
from pyro_mivae.information.estimate import mean_and_error
from pyro_mivae.information.posteriors import data_dims
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.importance import Cells, density
from pyro_mivae.traces.rerun import (
    latent_values,
    plate_indices,
    run_again,
)
from pyro_mivae.traces.sites import dimension_shape, observed_sites, unmasked

_MEAN_DRAWS = 100
"""Draws for a posterior mean that has no closed form."""


class Use(NamedTuple):
    """What the dimensions of a site are used for.

    Attributes:
        variance: Variance over data of the posterior means, and its standard error.
        prior_variance: Variance of the prior.
        losses: Log-likelihood lost by resampling, ``(N, *event_shape)``.
    """

    variance: tuple[Tensor, Tensor]
    prior_variance: Tensor
    losses: Tensor


class UseTerms:
    """Posterior means of every dimension, the prior's variance, and what is lost without it."""

    def __init__(self, model: Any, guide: Any, sites: Sequence[str]) -> None:
        self.model, self.guide, self.sites = model, guide, sites
        self._means: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in sites}
        self._priors: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in sites}
        self._losses: dict[str, list[Tensor]] = {name: [] for name in sites}
        self._sizes: dict[str, int] = {}
        self._dims: dict[str, int] = {}
        self._upstream: dict[str, frozenset[str]] | None = None

    def add(self, args: tuple[Any, ...], count: int, batching: Batching) -> None:
        """Adds the terms of a batch of `count` data."""
        traces = pair(Call(self.model, self.guide, args))
        model_trace, guide_trace = traces
        if not self._dims:
            for place, names in enumerate((observed_sites(model_trace), self.sites)):
                run = lambda *args, at=place: pair(Call(self.model, self.guide, args))[at]  # noqa: E731
                self._dims |= data_dims(run, batching, traces[place], names, count)
        for name in self.sites:
            site, dim = guide_trace.nodes[name], self._dims[name]
            mean, noise = (
                by_datum(part, site, dim, count, site["fn"].event_shape)
                for part in _posterior_mean(site["fn"])
            )
            self._means[name].append((mean, noise))
            self._sizes[name] = len(dimension_shape(site["fn"]))
            draw = model_trace.nodes[name]["fn"].sample()
            prior = self._prior(name, args, model_trace, draw)
            moments = [
                by_datum(part, prior, dim, count, prior["fn"].event_shape)
                for part in _prior_moments(prior["fn"], prior["value"])
            ]
            self._priors[name].append((moments[0], moments[1]))
            loss = _resampling_loss(self.model, args, model_trace, name, draw, self._dims, count)
            self._losses[name].append(loss)

    def _prior(self, name: str, args: tuple[Any, ...], model_trace: Any, draw: Tensor) -> Any:
        """The site at a draw of its prior, and at the prior's draws of what it depends on."""
        if self._upstream is None:
            self._upstream = dependencies(self.model, args, {})
        if not self._upstream.get(name):
            return {**model_trace.nodes[name], "value": draw}
        return run_again(self.model, args, {}, plate_indices(model_trace)).nodes[name]

    def by_site(self) -> dict[str, Use]:
        """Joins what was added, by site."""
        joined = {}
        for name, parts in self._means.items():
            mean, noise = (torch.cat(part) for part in zip(*parts, strict=True))
            variance = _variance_and_error(mean, noise, self._sizes[name])
            means, within = (torch.cat(p) for p in zip(*self._priors[name], strict=True))
            # Of a prior that depends on data or other sites: the variance of its means, too.
            prior = within.mean(0) + means.var(0, unbiased=False)
            prior = prior.sum(-1) if prior.dim() > self._sizes[name] else prior
            joined[name] = Use(variance, prior.cpu(), torch.cat(self._losses[name]))
        return joined


def _variance_and_error(means: Tensor, noise: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Variance of posterior means over data, less the noise of those that were sampled.

    The entries of a one-hot vector, behind its `dims`, are summed.
    """
    deviation = (means - means.mean(0)).square()
    variance = means.var(0) - noise.mean(0)
    if deviation.dim() - 1 > dims:
        deviation, variance = deviation.sum(-1), variance.sum(-1)
    return variance.cpu(), mean_and_error(deviation)[1]


def _posterior_mean(fn: Any) -> tuple[Tensor, Tensor]:
    fn = unmasked(fn)
    if has_useful_mean(fn):
        return fn.mean, torch.zeros_like(fn.mean)
    draws = fn.sample((_MEAN_DRAWS,)).to(torch.float64)
    return draws.mean(0), draws.var(0) / _MEAN_DRAWS


def _prior_moments(fn: Any, draw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a prior; where they have no closed form, its draw and none."""
    fn = unmasked(fn)
    if has_useful_mean(fn):
        try:
            return fn.mean, fn.variance
        except NotImplementedError:
            pass
    return draw, torch.zeros_like(draw)


def _resampling_loss(
    model: Any,
    args: tuple[Any, ...],
    model_trace: Any,
    name: str,
    other: Tensor,
    dims: Mapping[str, int],
    count: int,
) -> Tensor:
    """Log-likelihood lost with a dimension of `other` from the prior, by datum and dimension."""
    site = model_trace.nodes[name]
    values = {**plate_indices(model_trace), **latent_values(model_trace)}
    before = _log_likelihood(model_trace, dims, count)
    shape = dimension_shape(site["fn"])
    inner = len(site["fn"].event_shape) - len(shape)  # 1 for the entries of a one-hot vector
    losses = []
    for place in range(shape.numel()):
        chosen = torch.zeros(shape.numel(), dtype=torch.bool, device=other.device)
        chosen[place] = True
        value = torch.where(chosen.reshape(shape + (1,) * inner), other, values[name])
        trace = run_again(model, args, {}, {**values, name: value})
        losses.append(before - _log_likelihood(trace, dims, count))
    return torch.stack(losses, 1).reshape(count, *shape)


def _log_likelihood(trace: Any, dims: Mapping[str, int], count: int) -> Tensor:
    """Log p(x|z) by datum, ``(count,)``, double precision."""
    total: Any = 0.0
    for name in observed_sites(trace):
        site = trace.nodes[name]
        frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.dim == dims[name]]
        total = total + Cells(tuple(frames)).sum(density(site)).reshape(count).double()
    summed: Tensor = total
    return summed
