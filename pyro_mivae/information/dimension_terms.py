"""Bounds and KL of each dimension of the latent sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mivae.batches import Data, Prepare
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.guide_checks import require_same_measure
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.posteriors import data_dims, require_plate, require_roots
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies, entangled_sites
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.scoring import log_prob
from pyro_mivae.traces.sites import (
    as_names,
    dimension_shape,
    is_one_hot,
    latent_sites,
    marginals,
    masks_of,
    points,
)


def mi_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    channel: Channel,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    r"""Bounds :math:`I(c_d; x')` of every dimension of every latent site.

    .. math:: \mathbb{E}[\log q(c_d|x') - \log p(c_d)]

    Under ``channel="mean"`` it is a score, no bound. The marginals of model and guide have to be
    known; where both factorise over a site's dimensions, the bounds add up to the site's. Masks
    count as in the ELBO, scales are left out.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length; only their number and covariates matter.
        channel: How x' is generated.
        observed: Observed sites that keep their data value (covariates).
        data_args: Where the guide expects x', as in :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the draws.

    Returns:
        Nats per datum by site, each of the site's event shape (a one-hot vector is one dimension).

    Raises:
        ValueError: If the marginals of a site are neither those of a factorised distribution nor of
            a multivariate normal, a site depends on other latents in the guide (then q of it alone
            is not known), or is in no plate of the data.
    """
    batching = Batching.of(data, batch_size, prepare, seed)
    terms = BoundTerms(model, guide, channel, observed=observed, data_args=data_args)
    return _means(by_datum_of([terms], batching)[0])


def kl_per_dimension(
    model: Any,
    guide: Any,
    data: Data,
    *,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Averages KL(q || p) of every dimension's marginals over the data, by latent site.

    Analytic where torch has the closed form and it holds at the guide's draws of the other sites,
    else one draw per datum. Masks count as in the ELBO, scales are left out.

    Args:
        model: A Pyro model.
        guide: Its guide.
        data: Tensors of equal length.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the draws.

    Returns:
        Nats per datum by site, each of the site's event shape (a one-hot vector is one dimension).

    Raises:
        ValueError: If the marginals of a site are not known, or it is in no plate of the data.
    """
    batching = Batching.of(data, batch_size, prepare, seed)
    return _means(by_datum_of([KlTerms(model, guide)], batching)[0])


class DimensionTerms(Protocol):
    """Terms of every dimension of latent sites, gathered batch by batch."""

    model: Any
    guide: Any

    def add(self, args: tuple[Any, ...], count: int, batching: Batching) -> None:
        """Adds the terms of a batch of `count` data."""

    def by_site(self) -> dict[str, Any]:
        """Joins what was added, by site."""


def by_datum_of(measures: Sequence[DimensionTerms], batching: Batching) -> list[dict[str, Any]]:
    """Reads the data once for all measures of one pair, and joins the terms of each."""
    model, guide = measures[0].model, measures[0].guide
    with batching.evaluation(model, guide):
        for args, count in batching.with_progress("dimensions"):
            for measure in measures:
                measure.add(args, count, batching)
    return [measure.by_site() for measure in measures]


class BoundTerms:
    """Terms of :func:`mi_per_dimension`, ``(N, *event_shape)`` by site."""

    def __init__(
        self,
        model: Any,
        guide: Any,
        channel: Channel,
        sites: Iterable[str] | None = None,
        *,
        observed: str | Iterable[str] = (),
        data_args: DataArgs | None = None,
    ) -> None:
        self.model, self.guide, self.sites = model, guide, sites
        self._dual = DualPass(
            channel=channel, codes=None, observed=as_names(observed), data_args=data_args
        )
        self._parts: dict[str, list[Tensor]] = {}
        self._dims: dict[str, int] = {}

    def add(self, args: tuple[Any, ...], count: int, batching: Batching) -> None:
        """Adds the terms of a batch of `count` data."""
        forward, guide_trace, codes = self._dual.traces(Call(self.model, self.guide, args))
        if not self._dims:
            names = list(codes if self.sites is None else self.sites)
            require_roots(names, dependencies(self.guide, args, {}))
            self._dims = data_dims(self._run, batching, guide_trace, names, count)
        for name, dim in self._dims.items():
            q, p = guide_trace.nodes[name], forward.trace.nodes[name]
            log_q = counted(log_prob(marginals(q["fn"], name), q["value"], name), q)
            log_p = counted(log_prob(marginals(p["fn"], name), p["value"], name), p)
            terms = log_q - log_p
            self._parts.setdefault(name, []).append(by_datum(terms, q, dim, count))

    def by_site(self) -> dict[str, Tensor]:
        """Joins what was added, by site."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}

    def _run(self, *args: Any) -> Any:
        return self._dual.traces(Call(self.model, self.guide, args))[1]


class KlTerms:
    """Terms of :func:`kl_per_dimension`, ``(N, *event_shape)`` by site."""

    def __init__(self, model: Any, guide: Any, sites: Iterable[str] | None = None) -> None:
        self.model, self.guide, self.sites = model, guide, sites
        self._parts: dict[str, list[Tensor]] = {}
        self._dims: dict[str, int] = {}
        self._sampled: frozenset[str] = frozenset()

    def add(self, args: tuple[Any, ...], count: int, batching: Batching) -> None:
        """Adds the terms of a batch of `count` data."""
        call = Call(self.model, self.guide, args)
        model_trace, guide_trace = pair(call)
        if not self._dims:
            names = self._names(model_trace, guide_trace)
            self._dims = data_dims(self._run, batching, guide_trace, names, count)
            require_same_measure(model_trace, guide_trace, names)
            self._sampled = frozenset(entangled_sites(call, model_trace, guide_trace))
        for name, dim in self._dims.items():
            site, prior = (trace.nodes[name] for trace in (guide_trace, model_trace))
            q, p = (marginals(each["fn"], name) for each in (site, prior))
            try:
                kl = None if name in self._sampled else counted(kl_divergence(q, p), site)
            except NotImplementedError:
                kl = None
            if kl is None:
                log_q = counted(log_prob(q, site["value"], name), site)
                kl = log_q - counted(log_prob(p, site["value"], name), prior)
            self._parts.setdefault(name, []).append(by_datum(kl, site, dim, count))

    def by_site(self) -> dict[str, Tensor]:
        """Joins what was added, by site."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}

    def _names(self, model_trace: Any, guide_trace: Any) -> list[str]:
        shared = [name for name in latent_sites(guide_trace) if name in model_trace]
        names = shared if self.sites is None else list(self.sites)
        if unknown := sorted(set(names) - set(shared)):
            raise ValueError(
                f"codes names the site '{unknown[0]}', which model and guide do not share; "
                f"their latent sites are {shared}"
            )
        if places := points(guide_trace, names):
            raise ValueError(
                f"the guide's sites {places} are points (Delta), as Pyro's autoguides make them: "
                "expected densities, whose KL is known"
            )
        return names

    def _run(self, *args: Any) -> Any:
        return pair(Call(self.model, self.guide, args))[1]


def pair(call: Call) -> tuple[Any, Any]:
    """Runs the guide, and the model at the guide's draw; both runs are traced."""
    guide_trace = call.trace_guide()
    values = {**plate_indices(guide_trace), **latent_values(guide_trace)}
    return run_again(call.model, call.args, call.kwargs, values), guide_trace


def shared_sites(call: Call) -> tuple[list[str], dict[str, str]]:
    """Lists the latent sites of both, and says why some dimensions' marginals are not known."""
    model_trace, guide_trace = pair(call)
    names = [name for name in latent_sites(guide_trace) if name in model_trace]
    unknown = {}
    for name in names:
        try:
            for trace in (guide_trace, model_trace):
                marginals(trace.nodes[name]["fn"], name)
        except ValueError as error:
            unknown[name] = str(error)
    return names, unknown


def counted(terms: Tensor, site: Mapping[str, Any]) -> Tensor:
    """Sets to 0 what the masks of a site hide.

    Args:
        terms: One for each dimension of the site, ``batch_shape + shape of its dimensions``.
        site: The sample statement.
    """
    for mask in masks_of(site, terms.device):
        # A one-hot vector is one dimension; a mask has no entries for its categories.
        mask = mask.squeeze(-1) if is_one_hot(site["fn"]) else mask
        terms = torch.where(mask, terms, 0.0)
    return terms


def by_datum(
    values: Tensor,
    site: Mapping[str, Any],
    dim: int,
    count: int,
    shape: torch.Size | None = None,
) -> Tensor:
    """Sums what is inside a datum.

    Args:
        values: One for each dimension of a site, ``batch_shape + shape``.
        site: The site.
        dim: The dimension of the data's plate.
        count: The number of data.
        shape: By default that of the site's dimensions.

    Returns:
        Double precision, ``(count, *shape)``.

    Raises:
        ValueError: If the site is in no vectorised plate of the data.
    """
    fn = site["fn"]
    shape = dimension_shape(fn) if shape is None else shape
    require_plate(site, {dim}, count)
    values = values.expand(fn.batch_shape + shape).movedim(dim - len(shape), 0)
    return values.reshape(count, -1, *shape).sum(1).double()


def _means(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.mean(0).cpu() for name, each in terms.items()}
