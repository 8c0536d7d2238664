"""What dimensions are used for: how their posterior means vary, and what is lost without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.batches import Prepare, batches
from pyro_mivae.infer.dual.channel import has_useful_mean
from pyro_mivae.information.dimension_terms import by_datum, pair
from pyro_mivae.information.estimate import mean_and_error
from pyro_mivae.information.posteriors import data_dims
from pyro_mivae.progress import Progress
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.importance import Cells, density
from pyro_mivae.traces.rerun import (
    latent_values,
    plate_indices,
    run_again,
)
from pyro_mivae.traces.sites import dimension_shape, observed_sites, unmasked

_MEAN_DRAWS = 100
"""Draws for a posterior mean that has no closed form."""


def use(
    model: Any,
    guide: Any,
    tensors: list[Tensor],
    names: list[str],
    batch_size: int,
    prepare: Prepare | None,
    progress: bool,
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """Measures the variance of posterior means with its error, and losses by resampling."""
    means: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
    losses: dict[str, list[Tensor]] = {name: [] for name in names}
    dims: dict[str, int] = {}
    with Progress("use of dimensions", len(tensors[0]), "data", shown=progress) as bar:
        for args, count in batches(tensors, batch_size, prepare):
            model_trace, guide_trace = pair(Call(model, guide, args))
            if not dims:
                for place, trace in enumerate((model_trace, guide_trace)):
                    wanted = names if place else observed_sites(trace)
                    run = lambda *args, at=place: pair(Call(model, guide, args))[at]  # noqa: E731
                    dims |= data_dims(run, tensors, prepare, trace, wanted, count)
            for name in names:
                site = guide_trace.nodes[name]
                mean, noise = (
                    by_datum(part, site, dims[name], count, site["fn"].event_shape)
                    for part in _posterior_mean(site["fn"])
                )
                means[name].append((mean, noise))
                losses[name].append(_resampling_loss(model, args, model_trace, name, dims, count))
            bar.update(count)
    joined = {}
    for name, parts in means.items():
        mean, noise = (torch.cat(part) for part in zip(*parts, strict=True))
        size = len(dimension_shape(guide_trace.nodes[name]["fn"]))
        joined[name] = _variance_and_error(mean, noise, size)
    return joined, {name: torch.cat(parts) for name, parts in losses.items()}


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


def _resampling_loss(
    model: Any,
    args: tuple[Any, ...],
    model_trace: Any,
    name: str,
    dims: Mapping[str, int],
    count: int,
) -> Tensor:
    """Log-likelihood lost with a dimension from the prior, by datum and dimension."""
    site = model_trace.nodes[name]
    values = {**plate_indices(model_trace), **latent_values(model_trace)}
    before = _log_likelihood(model_trace, dims, count)
    shape = dimension_shape(site["fn"])
    inner = len(site["fn"].event_shape) - len(shape)  # 1 for the entries of a one-hot vector
    other = site["fn"].sample()
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
