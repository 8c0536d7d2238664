"""What every dimension of the latent sites carries, in one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from pyro_mivae.batches import Data, Prepare
from pyro_mivae.checks import check_count, optional
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, check_channel
from pyro_mivae.information.activity import UseTerms
from pyro_mivae.information.aggregate import information, pairwise
from pyro_mivae.information.aggregate_densities import aggregate_densities
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.dimension_terms import (
    BoundTerms,
    KlTerms,
    by_datum_of,
    shared_sites,
)
from pyro_mivae.information.estimate import mean_and_error
from pyro_mivae.information.posteriors import posteriors
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
    ``prior_variance_c``  variance of the prior, in the same units: the activity's share of it
                          compares codes of different priors. Without a standard error
    ``resampling_loss_c`` :math:`\mathbb{E}_q[\log p(x|z) - \log p(x|z')]`, where z' is z with this
                          dimension drawn from the prior
    ``pairwise_mi``       :math:`I_q(z_a; z_b)` of every two ``dimension``, ``other``, of factorised
                          guides, see :func:`pairwise_information`
    ===================== =====================================================================

    What the masks of a latent site hide counts as 0 in ``mi`` and ``kl``, as in the ELBO, and is
    not left out of the others. A one-hot vector is one dimension (its variances the sums over its
    categories). Where the marginals of a site are not known, ``mi``, ``aggregate_mi``, ``kl`` and
    ``pairwise_mi`` of it are left out, and an attribute ``mi_c`` says why.

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
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

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
    optional(check_count)("aggregate_size", aggregate_size)
    batching = Batching.of(data, batch_size, prepare, seed, progress)
    first = batching.first(aggregate_size)
    sites = None if codes is None else list(as_codes(codes) or {})
    with batching.evaluation(model, guide):
        args, _ = next(iter(batching))
        names, unknown = shared_sites(Call(model, guide, args))
    names = names if sites is None else sites
    known = [name for name in names if name not in unknown]
    attrs: dict[str, Any] = {"num_data": batching.num_data, "aggregate_size": first.num_data}
    for name in names:
        if name in unknown:
            attrs[f"mi_{name}"] = f"not measured by dimension: {unknown[name]}"
    use = UseTerms(model, guide, names)
    variables: dict[str, Any] = {}
    if not known:
        _add_use(variables, by_datum_of([use], batching)[0])
        group = make_group(variables, {"channel": list(channels)}, **attrs)
        group.attrs["pairwise_mi"] = "not measured: no site's marginals are known"
        return group
    bounds = [
        BoundTerms(model, guide, channel, known, observed=observed, data_args=data_args)
        for channel in channels
    ]
    kls, used, *terms = by_datum_of([KlTerms(model, guide, known), use, *bounds], batching)
    with first.evaluation(guide):
        run = [batch for _, batch in posteriors(guide, first, codes=known)]
        aggregate = information(run, aggregate_densities(run, progress=progress))
        try:
            both = pairwise(run, progress=progress)
        except ValueError as reason:  # no factorised guide
            both = None
            attrs["pairwise_mi"] = f"not measured: {reason}"
    for name in known:
        _add(variables, "kl", name, *mean_and_error(kls[name]))
        by_channel = [mean_and_error(each[name]) for each in terms]
        mean, error = (torch.stack(part) for part in zip(*by_channel, strict=True))
        _add(variables, "mi", name, mean, error, lead=("channel",))
        error = aggregate.dimension_information_standard_error[name]
        _add(variables, "aggregate_mi", name, aggregate.dimension_information[name], error)
    _add_use(variables, used)
    group = make_group(variables, {"channel": list(channels)}, **attrs)
    return group if both is None else group.merge(both, combine_attrs="override")


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


def _add_use(variables: dict[str, Any], used: Mapping[str, Any]) -> None:
    for name, use in used.items():
        mean, error = use.variance
        _add(variables, "activity", name, mean, error, units="")
        dims = site_dims(name, use.prior_variance.shape)
        attrs = {"units": "", "site": name}
        variables[f"prior_variance_{name}"] = (dims, use.prior_variance, attrs)
        _add(variables, "resampling_loss", name, *mean_and_error(use.losses))


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
