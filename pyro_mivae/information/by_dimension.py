"""What every dimension of the latent sites carries, in one data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from pyro_mivae.batches import Data, Prepare, as_tensors, batches
from pyro_mivae.checks import check_count, optional
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, check_channel
from pyro_mivae.information.activity import use
from pyro_mivae.information.aggregate import aggregate_information, pairwise_information
from pyro_mivae.information.dimension_terms import kl_by_datum, mi_by_datum, shared_sites
from pyro_mivae.information.estimate import mean_and_error
from pyro_mivae.isolation import evaluation
from pyro_mivae.runs.groups import NATS, make_group
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import as_codes


def per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    codes: str | Iterable[str] | None = None,
    channels: Sequence[Channel] = ("sample",),
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
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
        observed: Observed sites that keep their data value in the bound (covariates).
        data_args: Where the guide expects x', as in :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        aggregate_size: How many of the data, the first ones, make the aggregate posterior; its cost
            grows with the square. None takes all.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the draws.
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
    optional(check_count)("aggregate_size", aggregate_size)
    check_count("batch_size", batch_size)
    first = [tensor[:aggregate_size] for tensor in tensors]
    sites = None if codes is None else list(as_codes(codes) or {})
    settings: dict[str, Any] = {"batch_size": batch_size, "prepare": prepare, "seed": seed}
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        args, _ = next(batches(tensors, batch_size, prepare))
        names, unknown = shared_sites(Call(model, guide, args))
    names = names if sites is None else sites
    known = [name for name in names if name not in unknown]
    attrs: dict[str, Any] = {"num_data": len(tensors[0]), "aggregate_size": len(first[0])}
    for name in names:
        if name in unknown:
            attrs[f"mi_{name}"] = f"not measured by dimension: {unknown[name]}"
    variables: dict[str, Any] = {}
    if known:
        kls = kl_by_datum(model, guide, tensors, sites=known, **settings)
        aggregate = aggregate_information(guide, first, codes=known, progress=progress, **settings)
        binding: dict[str, Any] = {"observed": observed, "data_args": data_args}
        bounds = [
            mi_by_datum(model, guide, tensors, channel=channel, sites=known, **binding, **settings)
            for channel in channels
        ]
        for name in known:
            _add(variables, "kl", name, *mean_and_error(kls[name]))
            by_channel = [mean_and_error(terms[name]) for terms in bounds]
            mean, error = (torch.stack(part) for part in zip(*by_channel, strict=True))
            _add(variables, "mi", name, mean, error, lead=("channel",))
            error = aggregate.dimension_information_standard_error[name]
            _add(variables, "aggregate_mi", name, aggregate.dimension_information[name], error)
    with evaluation(model, guide, device=tensors[0].device, seed=seed):
        means, losses = use(model, guide, tensors, names, batch_size, prepare, progress)
    for name in names:
        _add(variables, "activity", name, *means[name], units="")
        _add(variables, "resampling_loss", name, *mean_and_error(losses[name]))
    group = make_group(variables, {"channel": list(channels)}, **attrs)
    try:
        both = pairwise_information(guide, first, codes=known, progress=progress, **settings)
    except ValueError as error:  # no factorised guide
        group.attrs["pairwise_mi"] = f"not measured: {error}"
        return group
    return group.merge(both, combine_attrs="override")


def as_lists(group: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Converts the numbers of :func:`per_dimension` for JSON: by site, then ``"kl"``, ...

    Names end in ``_se`` for standard errors, and the pairs are under ``"pairwise"``.
    """
    numbers: dict[str, dict[str, Any]] = {}
    for name, values in group.data_vars.items():
        site = values.attrs.get("site")
        if site is None:
            numbers.setdefault("pairwise", {})[str(name)] = values.values.tolist()
            continue
        quantity = str(name).replace(f"_{site}", "", 1)
        if "channel" not in values.dims:
            numbers.setdefault(site, {})[quantity] = values.values.tolist()
            continue
        base, error = quantity.removesuffix("_se"), quantity.endswith("_se")
        for channel in group["channel"].values:
            key = f"{base}/{channel}" + ("_se" if error else "")
            numbers.setdefault(site, {})[key] = values.sel(channel=channel).values.tolist()
    return numbers


def site_dims(site: str, event_shape: Sequence[int]) -> tuple[str, ...]:
    """Names the dimensions of a site."""
    if len(event_shape) <= 1:
        return (f"{site}_dim",) * len(event_shape)
    return tuple(f"{site}_dim_{number}" for number in range(len(event_shape)))


def _add(
    variables: dict[str, Any],
    quantity: str,
    site: str,
    mean: Tensor,
    error: Tensor,
    lead: tuple[str, ...] = (),
    units: str = NATS["units"],
) -> None:
    dims = (*lead, *site_dims(site, mean.shape[len(lead) :]))
    attrs = {"units": units, "site": site}
    variables[f"{quantity}_{site}"] = (dims, mean, attrs)
    variables[f"{quantity}_{site}_se"] = (dims, error, attrs)
