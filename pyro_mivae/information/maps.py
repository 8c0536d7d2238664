"""What every dimension of the latent sites carries, in one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from pyro_mivae.batches import Prepare
from pyro_mivae.groups import NATS, make_group
from pyro_mivae.infer.channel import Channel, check_channel, has_useful_mean
from pyro_mivae.infer.rerun import latent_values, observed_sites, plate_indices, run_again
from pyro_mivae.infer.sites import as_codes, dimension_shape, unmasked
from pyro_mivae.infer.weights import Cells, density
from pyro_mivae.information.aggregate import aggregate_information, pairwise_information
from pyro_mivae.information.dimensions import (
    by_datum,
    kl_by_datum,
    mi_by_datum,
    pair,
    shared_sites,
)
from pyro_mivae.information.estimate import batches
from pyro_mivae.information.posteriors import data_dims
from pyro_mivae.training import Data, as_tensors, evaluation

_MEAN_DRAWS = 100
"""Draws for a posterior mean that has no closed form."""


def per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    codes: str | Iterable[str] | None = None,
    channels: Sequence[Channel] = ("sample",),
    aggregate_size: int | None = 2000,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    r"""Measures every dimension of the latent sites.

    For a site ``c``, in nats per datum unless said otherwise, each with its standard error in a
    variable that ends in ``_se``:

    ===================== =====================================================================
    ``mi_c``              bound on :math:`I(c_d; x')`, by ``channel`` (under ``"mean"`` a score)
    ``aggregate_mi_c``    :math:`I_q(c_d; x)`, see :func:`aggregate_information`
    ``kl_c``              mean of :math:`\mathrm{KL}(q(c_d|x) \| p(c_d))`
    ``activity_c``        variance over data of the posterior mean, in the code's units squared
                          (Burda et al. 2016, sec. 5: a unit is active above 0.01)
    ``resampling_loss_c`` :math:`\mathbb{E}_q[\log p(x|z) - \log p(x|z')]`, where z' is z with this
                          dimension drawn from the prior
    ``pairwise_mi``       :math:`I_q(z_a; z_b)` of every two ``dimension``, ``other``, of factorised
                          guides, see :func:`pairwise_information`
    ===================== =====================================================================

    A one-hot vector is one dimension (its activity the sum over its categories). Where the
    marginals of a site are not known, ``mi``, ``aggregate_mi``, ``kl`` and ``pairwise_mi`` of it
    are left out, and an attribute ``mi_c`` says why.

    Args:
        model: A Pyro model.
        guide: Its guide, whose sites depend on the data alone.
        data: Tensors of equal length N.
        codes: The latent sites to measure; None for all.
        channels: Under which the bound is measured.
        aggregate_size: How many of the data, the first ones, make the aggregate posterior; its cost
            grows with the square. None takes all.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Of the draws.
        progress: Whether to show progress bars (on a terminal).

    Returns:
        Dimensions ``channel``, ``dimension``, ``other`` and of a site ``c`` ``c_dim`` (``c_dim_0``,
        ... for several, none for a scalar site).

    Raises:
        ValueError: If a site depends on other latents in the guide, or is in no plate of the data.

    References:
        Burda, Grosse and Salakhutdinov (2016), *Importance weighted autoencoders*.
    """
    for channel in channels:
        check_channel(channel)
    tensors = as_tensors(data)
    some = [tensor[:aggregate_size] for tensor in tensors]
    sites = None if codes is None else list(as_codes(codes) or {})
    settings: dict[str, Any] = {"batch_size": batch_size, "prepare": prepare, "seed": seed}
    found: dict[str, Any] = {}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        args, _ = next(batches(tensors, batch_size, prepare))
        names, unknown = shared_sites(model, guide, args)
    names = names if sites is None else sites
    known = [name for name in names if name not in unknown]
    attrs: dict[str, Any] = {"num_data": len(tensors[0]), "aggregate_size": len(some[0])}
    for name in names:
        if name in unknown:
            attrs[f"mi_{name}"] = f"not measured by dimension: {unknown[name]}"
    if known:
        _marginal_measures(found, model, guide, tensors, some, known, channels, progress, settings)
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        means, losses = _use(model, guide, tensors, names, batch_size, prepare, progress)
    for name in names:
        _add(found, "activity", name, *means[name], units="")
        _add(found, "resampling_loss", name, *_mean_and_error(losses[name]))
    group = make_group(found, {"channel": list(channels)}, **attrs)
    try:
        both = pairwise_information(guide, some, codes=known, progress=progress, **settings)
    except ValueError as error:  # no factorised guide
        group.attrs["pairwise_mi"] = f"not measured: {error}"
        return group
    return group.merge(both, combine_attrs="override")


def _marginal_measures(
    found: dict[str, Any],
    model: Any,
    guide: Any,
    tensors: list[Tensor],
    some: list[Tensor],
    names: list[str],
    channels: Sequence[Channel],
    progress: bool,
    settings: dict[str, Any],
) -> None:
    """Adds what is measured of the marginals of sites: KL, bounds, and information of `some`."""
    for name, terms in kl_by_datum(model, guide, tensors, sites=names, **settings).items():
        _add(found, "kl", name, *_mean_and_error(terms))
    aggregate = aggregate_information(guide, some, codes=names, progress=progress, **settings)
    by_channel = [
        mi_by_datum(model, guide, tensors, channel=channel, sites=names, **settings)
        for channel in channels
    ]
    for name in names:
        each = [_mean_and_error(terms[name]) for terms in by_channel]
        mean, error = (torch.stack(part) for part in zip(*each, strict=True))
        _add(found, "mi", name, mean, error, lead=("channel",))
        error = aggregate.dimension_information_standard_error[name]
        _add(found, "aggregate_mi", name, aggregate.dimension_information[name], error)


def as_lists(group: xr.Dataset) -> dict[str, dict[str, Any]]:
    """The numbers of :func:`per_dimension` for JSON: by site, then ``"kl"``, ``"mi/sample"``, ...

    Names end in ``_se`` for standard errors, and the pairs are under ``"pairwise"``.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, values in group.data_vars.items():
        site = values.attrs.get("site")
        if site is None:
            found.setdefault("pairwise", {})[str(name)] = values.values.tolist()
            continue
        quantity = str(name).replace(f"_{site}", "", 1)
        if "channel" not in values.dims:
            found.setdefault(site, {})[quantity] = values.values.tolist()
            continue
        base, error = quantity.removesuffix("_se"), quantity.endswith("_se")
        for channel in group["channel"].values:
            key = f"{base}/{channel}" + ("_se" if error else "")
            found.setdefault(site, {})[key] = values.sel(channel=channel).values.tolist()
    return found


def site_dims(site: str, event_shape: Sequence[int]) -> tuple[str, ...]:
    """Names of the dimensions of a site."""
    if len(event_shape) <= 1:
        return (f"{site}_dim",) * len(event_shape)
    return tuple(f"{site}_dim_{number}" for number in range(len(event_shape)))


def _add(
    found: dict[str, Any],
    quantity: str,
    site: str,
    mean: Tensor,
    error: Tensor,
    lead: tuple[str, ...] = (),
    units: str = NATS["units"],
) -> None:
    dims = (*lead, *site_dims(site, mean.shape[len(lead) :]))
    attrs = {"units": units, "site": site}
    found[f"{quantity}_{site}"] = (dims, mean, attrs)
    found[f"{quantity}_{site}_se"] = (dims, error, attrs)


def _mean_and_error(terms: Tensor) -> tuple[Tensor, Tensor]:
    return terms.mean(0).cpu(), (terms.std(0) / len(terms) ** 0.5).cpu()


def _variance_and_error(means: Tensor, noise: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Variance of posterior means over data, less the noise of those that were sampled.

    The entries of a one-hot vector, behind its `dims`, are summed.
    """
    deviation = (means - means.mean(0)).square()
    variance = means.var(0) - noise.mean(0)
    if deviation.dim() - 1 > dims:
        deviation, variance = deviation.sum(-1), variance.sum(-1)
    return variance.cpu(), (deviation.std(0) / len(means) ** 0.5).cpu()


def _use(
    model: Any,
    guide: Any,
    tensors: list[Tensor],
    names: list[str],
    batch_size: int,
    prepare: Prepare | None,
    progress: bool,
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """The variance of posterior means with its error, and losses by resampling, by datum."""
    means: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
    losses: dict[str, list[Tensor]] = {name: [] for name in names}
    dims: dict[str, int] = {}
    with tqdm(total=len(tensors[0]), unit="datum", disable=None if progress else True) as bar:
        for args, count in batches(tensors, batch_size, prepare):
            model_trace, guide_trace = pair(model, guide, args)
            if not dims:
                for place, trace in enumerate((model_trace, guide_trace)):
                    wanted = names if place else observed_sites(trace)
                    run = lambda *args, at=place: pair(model, guide, args)[at]  # noqa: E731
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
