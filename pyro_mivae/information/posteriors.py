"""The guide's posteriors of all data, kept as distributions that score any value."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.batches import Prepare, arguments
from pyro_mivae.families import at_least_single
from pyro_mivae.infer.dependencies import dependencies
from pyro_mivae.infer.sites import (
    Codes,
    as_codes,
    dimension_shape,
    is_one_hot,
    latent_sites,
    marginals,
    unmasked,
    unwrap,
)
from pyro_mivae.infer.weights import plates
from pyro_mivae.information.estimate import batches


class Density:
    """The densities of one site on the data of a batch.

    At least in single precision, without scales and masks, and without validation: a draw of one
    datum may lie outside the support of another.

    Args:
        name: The site.
        fn: Its distribution.
        position: The dimension of the data in a value, from the right.
        event_shape: What counts as the dimensions of a value; by default those of `fn`, where a
            one-hot vector is one.
    """

    def __init__(
        self, name: str, fn: Any, position: int, event_shape: torch.Size | None = None
    ) -> None:
        self.fn = _plain(unmasked(fn))
        self.position = position
        self.event_shape = dimension_shape(fn) if event_shape is None else event_shape
        self.factorised = is_one_hot(fn) or not unwrap(fn).event_shape
        try:
            self.marginals = _plain(marginals(self.fn, name))
        except ValueError:
            self.marginals = None

    @property
    def num_marginals(self) -> int:
        """The number of dimensions whose marginals are known: all or none."""
        return 0 if self.marginals is None else math.prod(self.event_shape)

    def __call__(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Scores values; what else is inside a datum is summed.

        Args:
            value: Shape ``(values, *batch, *event)``; at `position` either the data, or of size 1
                to score a value under every datum.

        Returns:
            log q(z|x), nats in double precision, shape ``(values, data)``, and log q(z_d|x), shape
            ``(values, num_marginals, data)``.
        """
        if self.marginals is not None:
            log_prob = self.marginals.log_prob(value)
            position = self.position + len(self.marginals.event_shape)
            each = sum_inside(log_prob, position, self.num_marginals)
            if self.factorised:
                return each.sum(1), each
        log_prob = self.fn.log_prob(value)
        joint = sum_inside(log_prob, self.position + self.fn.event_dim, 1)
        return joint[:, 0], joint[:, :0] if self.marginals is None else each


def sum_inside(log_prob: Tensor, position: int, size: int) -> Tensor:
    """Sums a datum's cells: ``(values, size, data)``. Contiguous, a sum over data takes half."""
    log_prob = log_prob.movedim(position, -1)
    cells = log_prob.reshape(len(log_prob), -1, size, log_prob.shape[-1])
    cells = cells.to(torch.float64, memory_format=torch.contiguous_format)
    return cells[:, 0] if cells.shape[1] == 1 else cells.sum(1)


def _plain(part: Any) -> Any:
    """A copy of a distribution, at least in single precision, without validation."""
    if isinstance(part, Tensor):
        return at_least_single(part) if part.is_floating_point() else part
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if isinstance(part, torch.distributions.Distribution | torch.distributions.Transform):
        part = copy.copy(part)
        vars(part).update({name: _plain(value) for name, value in vars(part).items()})
        if isinstance(part, torch.distributions.Distribution):
            part._validate_args = False
    return part


@dataclass(frozen=True)
class Batch:
    """q(z|x) of the data of a batch, with draws of each.

    Attributes:
        count: The number of data.
        densities: By code site.
        draws: Values by code site, shape ``(num_samples, *batch, *event)``.
        dtypes: Of the guide's own draws, by code site.
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
    tensors: list[Tensor],
    *,
    codes: str | Iterable[str] | Codes | None = None,
    num_samples: int = 1,
    batch_size: int = 500,
    prepare: Prepare | None = None,
) -> Iterator[tuple[tuple[Any, ...], Batch]]:
    """Runs a guide once on every batch of the data.

    Args:
        guide: A Pyro guide.
        tensors: Data of equal length.
        codes: Names of the latent sites that count; None for all.
        num_samples: Draws of each datum.
        batch_size: Data in a batch.
        prepare: Makes the guide's arguments from a batch.

    Yields:
        The guide's arguments, and its posteriors there.

    Raises:
        ValueError: If a code site is none of the guide's, is a point, depends on other latents, or
            is in no vectorised plate of the data.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, found {num_samples}")
    wanted, dims = as_codes(codes), dict[str, int]()
    for args, count in batches(tensors, batch_size, prepare):
        trace = poutine.trace(guide).get_trace(*args)
        if not dims:
            names = _code_sites(trace, wanted)
            require_roots(names, dependencies(guide, args, {}))
            dims = data_dims(poutine.trace(guide).get_trace, tensors, prepare, trace, names, count)
        sites = {name: trace.nodes[name] for name in dims}
        for name, site in sites.items():
            require_plate(site, {dims[name]}, count)
        densities = {
            name: Density(name, site["fn"], dims[name] - site["fn"].event_dim)
            for name, site in sites.items()
        }
        draws = {name: q.fn.sample((num_samples,)) for name, q in densities.items()}
        dtypes = {name: site["value"].dtype for name, site in sites.items()}
        yield args, Batch(count, densities, draws, dtypes)


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
        if found := sorted(upstream.get(name, ())):
            raise ValueError(
                f"code site '{name}' depends on {found} in the guide, so that q({name}|x) is not "
                "known: expected sites that depend on the data alone; name those with codes"
            )


def data_dims(
    run: Callable[..., Any],
    tensors: list[Tensor],
    prepare: Prepare | None,
    trace: Any,
    names: Iterable[str],
    count: int,
) -> dict[str, int]:
    """The dimension of the data's plate, by site; the leftmost if several follow the data.

    Args:
        run: Makes a trace from the arguments of a batch.
        tensors: The data.
        prepare: Makes the arguments from a batch.
        trace: That of a batch.
        names: The sites.
        count: The number of data in the batch.

    Raises:
        ValueError: If a site is in no vectorised plate of the data.
    """
    found = {name: plate_dims(trace.nodes[name], count) for name in names}
    if any(len(dims) > 1 for dims in found.values()):
        # Another plate happens to be as large: with a datum less or more it is not.
        twice = [torch.cat([tensor[:1], tensor[:1]]) for tensor in tensors]
        other = [tensor[: count - 1] for tensor in tensors] if count > 1 else twice
        again = run(*arguments(other, prepare))
        for name, dims in found.items():
            dims &= plate_dims(again.nodes[name], len(other[0]))
    for name, dims in found.items():
        require_plate(trace.nodes[name], dims, count)
    return {name: min(dims) for name, dims in found.items()}


def plate_dims(site: Mapping[str, Any], count: int) -> set[int]:
    """The dimensions of a site's vectorised plates of this size."""
    return {dim for dim, size in plates(site).items() if size == count}


def require_plate(site: Mapping[str, Any], dims: Iterable[int], count: int) -> int:
    """The one of these dimensions that is a plate of the data.

    Raises:
        ValueError: If there is none.
    """
    for dim in sorted(plate_dims(site, count).intersection(dims)):
        return dim
    raise ValueError(
        f"site '{site['name']}' is in no vectorised plate of the {count} data of a batch: expected "
        "its pyro.sample inside pyro.plate('data', len(x)), at the same dim in model and guide"
    )
