"""The guide's posteriors of all data, kept as distributions that score any value."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.checks import check_draws
from pyro_mivae.information.batching import Batching, Run
from pyro_mivae.information.densities import Density
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.importance import plates
from pyro_mivae.traces.sites import (
    Codes,
    as_codes,
    latent_sites,
    masks_of,
    unwrap,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """q(z|x) of the data of a batch, with draws of each.

    Attributes:
        count: The number of data.
        densities: By code site.
        draws: Values by code site, shape ``(num_samples, *batch, *event)``.
        dtypes: Types of the guide's own draws, by code site.
    """

    count: int
    densities: dict[str, Density]
    draws: dict[str, Tensor]
    dtypes: dict[str, torch.dtype]

    @property
    def num_samples(self) -> int:
        """Draws of each datum."""
        return len(next(iter(self.draws.values())))


def posteriors(
    guide: Any,
    batching: Batching,
    *,
    codes: str | Iterable[str] | Codes | None = None,
    num_samples: int = 1,
) -> Iterator[tuple[tuple[Any, ...], Batch]]:
    """Runs a guide once on every batch of the data.

    Args:
        guide: A Pyro guide.
        batching: The data.
        codes: Names of the latent sites that count; None for all.
        num_samples: Draws of each datum.

    Yields:
        The guide's arguments, and its posteriors there.

    Raises:
        ValueError: If a code site is none of the guide's, is a point, depends on other latents, or
            is in no vectorised plate of the data.
    """
    num_samples = check_draws("num_samples", num_samples)
    wanted, dims, warned = as_codes(codes), dict[str, int](), False
    for args, count in batching:
        trace = poutine.trace(guide).get_trace(*args)
        if not dims:
            names = _code_sites(trace, wanted)
            require_roots(names, dependencies(guide, args, {}))
            dims = data_dims(poutine.trace(guide).get_trace, batching, trace, names, count)
        sites = {name: trace.nodes[name] for name in dims}
        for name, site in sites.items():
            require_plate(site, {dims[name]}, count)
        if not warned and (hidden := _masked(sites)):
            warned = True
            logger.warning(
                "the masks of the latent sites %s are left out: what they hide counts in the "
                "posteriors and in what is measured of them, and not in the ELBO",
                hidden,
            )
        densities = {
            name: Density(name, site["fn"], dims[name] - site["fn"].event_dim)
            for name, site in sites.items()
        }
        draws = {name: q.fn.sample((num_samples,)) for name, q in densities.items()}
        dtypes = {name: site["value"].dtype for name, site in sites.items()}
        yield args, Batch(count, densities, draws, dtypes)


def _masked(sites: Mapping[str, Any]) -> list[str]:
    """Lists the sites of which a mask hides a part."""
    return [
        name
        for name, site in sites.items()
        if any(not bool(mask.all()) for mask in masks_of(site, site["value"].device))
    ]


def _code_sites(trace: Any, wanted: Codes | None) -> list[str]:
    latents = latent_sites(trace)
    for name, dims in (wanted or {}).items():
        if name not in latents:
            raise ValueError(f"codes names '{name}', but the guide's latent sites are {latents}")
        if dims is not None:
            raise ValueError(
                f"codes={{'{name}': {dims!r}}}: expected a whole site, as each of its dimensions "
                f"is measured; pass codes='{name}'"
            )
    names = [name for name in latents if wanted is None or name in wanted]
    if not names:
        raise ValueError("the guide has no latent sites: there is nothing to measure")
    for name in names:
        if isinstance(unwrap(trace.nodes[name]["fn"]), dist.Delta):
            raise ValueError(
                f"site '{name}' is a point (Delta) in the guide: it has no density, and its "
                "information is unbounded. Expected a distribution; name other sites with codes"
            )
    return names


def require_roots(names: Iterable[str], upstream: Mapping[str, frozenset[str]]) -> None:
    """Raises a ``ValueError`` if a guide's code depends on other latents."""
    for name in names:
        if causes := sorted(upstream.get(name, ())):
            raise ValueError(
                f"code site '{name}' depends on {causes} in the guide, so that q({name}|x) is not "
                "known: expected sites that depend on the data alone; name those with codes"
            )


def data_dims(
    run: Run,
    batching: Batching,
    trace: Any,
    names: Iterable[str],
    count: int,
) -> dict[str, int]:
    """Finds the dimension of the data's plate, by site; the leftmost of several.

    Args:
        run: Makes a trace from the arguments of a batch.
        batching: The data.
        trace: That of a batch.
        names: The sites.
        count: The number of data in the batch.

    Raises:
        ValueError: If a site is in no vectorised plate of the data.
    """
    candidates = {name: plate_dims(trace.nodes[name], count) for name in names}
    if any(len(dims) > 1 for dims in candidates.values()):
        # Another plate happens to be as large: with a datum less or more it is not.
        args, size = batching.other_size(count)
        again = run(*args)
        for name, dims in candidates.items():
            dims &= plate_dims(again.nodes[name], size)
    for name, dims in candidates.items():
        require_plate(trace.nodes[name], dims, count)
    return {name: min(dims) for name, dims in candidates.items()}


def plate_dims(site: Mapping[str, Any], count: int) -> set[int]:
    """Lists the dimensions of a site's vectorised plates of this size."""
    return {dim for dim, size in plates(site).items() if size == count}


def require_plate(site: Mapping[str, Any], dims: Iterable[int], count: int) -> int:
    """Picks the one of these dimensions that is a plate of the data.

    Raises:
        ValueError: If there is none.
    """
    for dim in sorted(plate_dims(site, count).intersection(dims)):
        return dim
    raise ValueError(
        f"site '{site['name']}' is in no vectorised plate of the {count} data of a batch: expected "
        "its pyro.sample inside pyro.plate('data', len(x)), at the same dim in model and guide"
    )
