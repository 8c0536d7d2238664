"""Importance weights: the model's density over the guide's, datum by datum.

A weight is p(z) p(x|z) / q(z|x) at a draw of the guide. Along the plates that every site is in
the weights factorise; a *cell* of these plates is what is called a datum. Scales weigh a loss and
are left out of densities; masks are honoured, as in the ELBO.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.families import at_least_single
from pyro_mivae.infer.channel import Forward
from pyro_mivae.infer.sites import Codes, latent_sites, site_log_prob, spread


def plates(site: Mapping[str, Any]) -> dict[int, int]:
    """Sizes of the vectorised plates around a site by dim; those of a plate without one, too."""
    return {
        frame.dim: frame.size if frame.size >= 0 else site["fn"].batch_shape[frame.dim]
        for frame in site["cond_indep_stack"]
        if frame.vectorized
    }


@dataclass(frozen=True)
class Cells:
    """The cells of the plates that every site is in.

    Attributes:
        frames: The plates, from the left.
    """

    frames: tuple[Any, ...]

    def sum(self, log_prob: Tensor, lead: int | None = None) -> Tensor:
        """Sums a log-probability over all that is inside a cell.

        Args:
            log_prob: Of a site, a batch shape.
            lead: A further dimension to keep, the leftmost.

        Returns:
            The sizes of the plates at their dims, 1 at others; `lead` in front.
        """
        keep = [*([] if lead is None else [lead]), *(frame.dim for frame in self.frames)]
        depth = max((-dim for dim in keep), default=0)
        log_prob = log_prob.reshape((1,) * (depth - log_prob.dim()) + log_prob.shape)
        inside = [dim for dim in range(-log_prob.dim(), 0) if dim not in keep]
        total = log_prob.sum(inside, keepdim=True) if inside else log_prob
        return total.reshape(total.shape[total.dim() - depth :])


def cells(model_trace: Any, guide_trace: Any, data: Collection[str]) -> Cells:
    """Finds the cells of a model's latent sites and data, and of the guide's sites.

    Raises:
        ValueError: If a site outside the shared plates is subsampled: its density would be that of
            a part of the datum.
    """
    stacks = {
        name: model_trace.nodes[name]["cond_indep_stack"]
        for name in (*latent_sites(model_trace), *data)
    }
    first, *others = stacks.values()
    shared = [f for f in first if f.vectorized and all(f in stack for stack in others)]
    for name in latent_sites(guide_trace):
        # The guide may call its plates otherwise.
        own, model_site = plates(guide_trace.nodes[name]), model_trace.nodes[next(iter(stacks))]
        shared = [f for f in shared if own.get(f.dim) == plates(model_site)[f.dim]]
    for name, stack in stacks.items():
        for frame in stack:
            if (
                frame not in shared
                and frame.size >= 0
                and frame.full_size not in (None, frame.size)
            ):
                raise ValueError(
                    f"site '{name}' is subsampled by the plate '{frame.name}' ({frame.size} of "
                    f"{frame.full_size}), in which not every latent site is: the information is "
                    "that of whole data, so expected the plate without subsampling"
                )
    return Cells(tuple(sorted(shared, key=lambda frame: frame.dim)))


def density(site: Mapping[str, Any]) -> Tensor:
    """log-probability of a site, unscaled, masked, at least in single precision."""
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    masked: Tensor = scale_and_mask(at_least_single(log_prob), mask=site["mask"])
    return masked


def _noise_density(site: dict[str, Any], codes: Codes) -> Tensor | None:
    """The density without that of the site's code dimensions; None if all of it is code."""
    dims = codes.get(site["name"])
    if site["name"] not in codes:
        return density(site)
    if dims is None:
        return None
    return density(site) - at_least_single(site_log_prob({**site, "scale": 1.0}, dims))


def log_joint(
    trace: Any,
    latent: Iterable[str],
    data: Iterable[str],
    cells: Cells,
    *,
    codes: Codes | None = None,
    lead: int | None = None,
) -> Tensor:
    r"""Returns log p(z) p(x|z) of every cell, or log p(u|c) p(x|c, u) where codes c are given.

    Args:
        trace: A run of the model.
        latent: The latent sites that count: those of the guide, too.
        data: The observed sites that count.
        cells: The cells.
        codes: What is given, in place of drawn.
        lead: The dimension of parallel draws.

    Returns:
        Nats, a shape as that of :meth:`Cells.sum`.
    """
    terms = [density(trace.nodes[name]) for name in data]
    terms += _noise_densities(trace, latent, codes)
    first, *others = (cells.sum(term, lead) for term in terms)
    return sum(others, first)


def log_proposal(
    trace: Any,
    latent: Iterable[str],
    cells: Cells,
    *,
    codes: Codes | None = None,
    lead: int | None = None,
) -> Tensor | float:
    """Returns log q(z|x) of every cell, or log q(u|c, x) with codes; 0 without a site."""
    return sum(cells.sum(term, lead) for term in _noise_densities(trace, latent, codes))


def _noise_densities(trace: Any, latent: Iterable[str], codes: Codes | None) -> list[Tensor]:
    found = (_noise_density(trace.nodes[name], codes or {}) for name in latent)
    return [term for term in found if term is not None]


def proposed(model_trace: Any, guide_trace: Any, data: Collection[str]) -> list[str]:
    """The latent sites of both, whose densities make the weight.

    Sites that only one of the two has cancel: the model proposes them from its prior, or the
    guide uses them on its way.
    """
    latent = set(latent_sites(model_trace)) - set(data)
    return [name for name in latent_sites(guide_trace) if name in latent]


def log_weight(
    model_trace: Any,
    guide_trace: Any,
    data: Collection[str],
    cells: Cells,
    *,
    codes: Codes | None = None,
    lead: int | None = None,
) -> Tensor:
    r"""The log-weight of every cell, :math:`\log p(z)\, p(x|z) / q(z|x)`.

    With codes, :math:`\log p(u|c)\, p(x|c, u) / q(u|c, x)`. Arguments and shape are those of
    :func:`log_joint`.
    """
    latent = proposed(model_trace, guide_trace, data)
    log_p = log_joint(model_trace, latent, data, cells, codes=codes, lead=lead)
    return log_p - log_proposal(guide_trace, latent, cells, codes=codes, lead=lead)


class Fix(Messenger):  # type: ignore[misc]
    """Gives sites their values: latent ones, data in place of the observed, plates' indices."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.values and not msg["done"]:
            value = self.values[msg["name"]]
            if not msg["is_observed"] and not site_is_subsample(msg):
                value = spread(value, msg["fn"])
            msg["value"], msg["done"] = value, True


def plate_indices(trace: Any) -> dict[str, Tensor]:
    """The plates' indices of a run."""
    return {n: s["value"] for n, s in trace.nodes.items() if site_is_subsample(s)}


def latent_values(trace: Any) -> dict[str, Tensor]:
    """The values of the latent sites of a run."""
    return {name: trace.nodes[name]["value"] for name in latent_sites(trace)}


def keep_masked(forward: Forward) -> None:
    """Puts the data back where x' is masked: what the density leaves out may tell nothing."""
    for name, original in forward.originals.items():
        site = forward.trace.nodes[name]
        mask = site["mask"]
        if mask is None or mask is True or not isinstance(original, Tensor):
            continue
        mask = torch.as_tensor(mask, device=original.device)
        mask = mask.reshape(mask.shape + (1,) * site["fn"].event_dim)
        kept = torch.where(mask, site["value"], original.reshape(site["value"].shape))
        forward.generated[name] = site["value"] = kept


def run_model(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], values: Mapping[str, Tensor]
) -> Any:
    """Runs a model with sites at these values; what it alone has is drawn."""
    return poutine.trace(Fix(values)(model)).get_trace(*args, **kwargs)
