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
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyro_mivae.distributions.precision import at_least_single
from pyro_mivae.traces.scoring import site_density
from pyro_mivae.traces.sites import (
    Codes,
    chosen_dims,
    elementwise,
    latent_sites,
    points,
)


def plates(site: Mapping[str, Any]) -> dict[int, int]:
    """Measures the vectorised plates around a site by dim; those of a plate without one, too."""
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

    def without(self, plates: Collection[str]) -> Cells:
        """Returns the larger cells that hold all that is along some plates."""
        return Cells(tuple(frame for frame in self.frames if frame.name not in plates))

    def sum(self, log_prob: Tensor, lead: int | None = None) -> Tensor:
        """Sums a log-probability over all that is inside a cell.

        Args:
            log_prob: Log-probability of a site, a batch shape.
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


def shared_cells(model_trace: Any, guide_trace: Any, data: Collection[str]) -> Cells:
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
    sizes = plates(model_trace.nodes[next(iter(stacks))])
    for name in latent_sites(guide_trace):
        own = plates(guide_trace.nodes[name])  # the guide may call them otherwise
        shared = [f for f in shared if own.get(f.dim) == sizes[f.dim]]
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
    """Computes a site's log-probability, unscaled, masked, at least in single precision."""
    masked: Tensor = scale_and_mask(at_least_single(site_density(site)), mask=site["mask"])
    return masked


def _within_support(site: Mapping[str, Any], log_prob: Tensor) -> Tensor:
    """Minus infinity outside the support, where some densities of torch go on."""
    try:
        inside = site["fn"].support.check(site["value"])
    except (AttributeError, NotImplementedError):
        return log_prob
    outside = torch.zeros_like(inside, dtype=log_prob.dtype).masked_fill(~inside, -torch.inf)
    bounded: Tensor = log_prob + scale_and_mask(outside, mask=site["mask"])
    return bounded


def _noise_density(site: dict[str, Any], codes: Codes) -> Tensor | None:
    """The density of the dimensions that are no code; None if there is none."""
    if site["name"] not in codes:
        return density(site)
    dims = codes[site["name"]]
    if dims is None:
        return None
    each = elementwise(site["fn"], site["value"], site["name"])
    chosen = chosen_dims(dims, site["fn"], site["name"], each.device)
    noise = torch.where(chosen, 0.0, each).flatten(each.dim() - site["fn"].event_dim).sum(-1)
    masked: Tensor = scale_and_mask(at_least_single(noise), mask=site["mask"])
    return masked


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
    terms += [
        _within_support(trace.nodes[name], term)
        for name, term in _noise_densities(trace, latent, codes)
    ]
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
    return sum(cells.sum(term, lead) for _, term in _noise_densities(trace, latent, codes))


def _noise_densities(
    trace: Any, latent: Iterable[str], codes: Codes | None
) -> list[tuple[str, Tensor]]:
    densities = ((name, _noise_density(trace.nodes[name], codes or {})) for name in latent)
    return [(name, term) for name, term in densities if term is not None]


def proposed(model_trace: Any, guide_trace: Any, data: Collection[str]) -> list[str]:
    """Lists the latent sites of both, whose densities make the weight.

    Sites that only one of the two has cancel: the model proposes them from its prior, or the
    guide uses them on its way. Those that it makes points of do not.
    """
    latent = set(latent_sites(model_trace)) - set(data)
    return [name for name in latent_sites(guide_trace) if name in latent]


def _made_of(model_trace: Any, guide_trace: Any, latent: Collection[str]) -> list[str]:
    """Lists the auxiliary sites that the guide makes points of, as Pyro's autoguides do.

    Such a point has the Jacobian alone as its density, and the draws theirs.

    Raises:
        ValueError: If a point is made of none: it is drawn from no density.
    """
    places = [n for n in points(guide_trace, latent) if not points(model_trace, [n])]
    if not places:
        return []
    auxiliary = [
        name
        for name in latent_sites(guide_trace)
        if name not in latent and (guide_trace.nodes[name]["infer"] or {}).get("is_auxiliary")
    ]
    if not auxiliary:
        raise ValueError(
            f"the guide's sites {places} are points (Delta), as AutoDelta makes them, so that no "
            "density weighs its draws: expected a guide with a density, such as AutoNormal"
        )
    return auxiliary


def log_weight(
    model_trace: Any,
    guide_trace: Any,
    data: Collection[str],
    cells: Cells,
    *,
    codes: Codes | None = None,
    lead: int | None = None,
) -> Tensor:
    r"""Computes the log-weight of every cell, :math:`\log p(z)\, p(x|z) / q(z|x)`.

    With codes, :math:`\log p(u|c)\, p(x|c, u) / q(u|c, x)`. Arguments and shape are those of
    :func:`log_joint`.
    """
    latent = proposed(model_trace, guide_trace, data)
    log_p = log_joint(model_trace, latent, data, cells, codes=codes, lead=lead)
    drawn = [*latent, *_made_of(model_trace, guide_trace, latent)]
    return log_p - log_proposal(guide_trace, drawn, cells, codes=codes, lead=lead)
