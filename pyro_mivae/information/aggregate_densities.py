"""The aggregate posterior: the density of every draw under the posterior of every datum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_mivae.information.posteriors import Batch
from pyro_mivae.progress import Progress

_ELEMENTS = 2**19
"""Numbers that are computed at once: more leave the cache, with fewer the threads wait."""


@dataclass(frozen=True)
class Densities:
    """The log-densities of draws, in double precision; draws of a datum are next to each other.

    Attributes:
        own: log q(z|x) of the datum that was drawn from, shape ``(draws,)``.
        own_each: log q(z_d|x) of every dimension, the sites' one after the other, shape
            ``(draws, dimensions)``.
        joint: log q(z) under the aggregate, like `own`.
        each: log q(z_d), like `own_each`.
    """

    own: Tensor
    own_each: Tensor
    joint: Tensor
    each: Tensor


def aggregate_densities(run: list[Batch], *, progress: bool) -> Densities:
    r"""Computes densities under the aggregate :math:`q(z) = \frac{1}{N} \sum_j q(z|x_j)`.

    Args:
        run: The posteriors of all data.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Raises:
        ValueError: If a density is NaN.
    """
    tables: list[Tensor] = []
    for rows, densities, _ in blocks(run, pairs=False, progress=progress):
        # Small tensors kept among large ones that come and go would fragment the memory.
        parts = (densities.own, densities.own_each, densities.joint, densities.each)
        tables = tables or [part.new_empty(_num_draws(run), *part.shape[1:]) for part in parts]
        for table, part in zip(tables, parts, strict=True):
            table[rows] = part
    return Densities(*tables)


def blocks(
    run: list[Batch], *, pairs: bool, progress: bool
) -> Iterator[tuple[slice, Densities, Tensor]]:
    """Takes a block of draws at a time, so that memory does not grow with the number of pairs.

    Args:
        run: The posteriors of all data.
        pairs: Whether every two dimensions are taken, too.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Yields:
        Which draws, their densities, and with `pairs` (else empty) log q(z_a, z_b) under the
        aggregate of factorised posteriors, shape ``(draws, dimensions, dimensions)``.

    Raises:
        ValueError: If a density is NaN.
    """
    positions = {name: q.position for name, q in run[0].densities.items()}
    values = {
        name: torch.cat([b.draws[name].movedim(position, 0).flatten(0, 1) for b in run])
        for name, position in positions.items()
    }
    numbers = max(b.count for b in run) * sum(value[0].numel() for value in values.values())
    size, total = max(1, _ELEMENTS // numbers), _num_draws(run)
    what = "pairs of dimensions" if pairs else "aggregate posterior"
    with Progress(what, total, "draws", shown=progress) as bar:
        for start in range(0, total, size):
            rows = slice(start, min(start + size, total))
            block = {n: value[rows].unsqueeze(positions[n]) for n, value in values.items()}
            densities, both = _densities(run, block, rows, pairs)
            if bool(densities.joint.isnan().any()):
                raise ValueError(
                    "a density of the guide is NaN: its parameters are not finite for some data"
                )
            yield rows, densities, both
            bar.update(rows.stop - rows.start)


def _densities(
    run: list[Batch], block: dict[str, Tensor], rows: slice, pairs: bool
) -> tuple[Densities, Tensor]:
    """Computes the densities of draws that have size 1 where batches have their data."""
    datum = torch.arange(rows.start, rows.stop) // run[0].num_samples
    own, own_each = [], []
    sums: list[Tensor] = []
    before = 0
    for batch in run:
        joint, each = together([q(block[name]) for name, q in batch.densities.items()])
        both = _log_matmul(each) if pairs else each.new_empty(0)
        log_sums = [joint.logsumexp(-1), each.logsumexp(-1), both]
        sums = list(map(torch.logaddexp, sums, log_sums)) if sums else log_sums
        end = before + batch.count
        mine = ((before <= datum) & (datum < end)).nonzero()[:, 0]
        own.append(joint[mine, datum[mine] - before])
        own_each.append(each[mine, :, datum[mine] - before])
        before = end
    joint, each, both = (log_sum - math.log(before) for log_sum in sums)
    return Densities(torch.cat(own), torch.cat(own_each), joint, each), both


def together(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Joins the sites' densities into one, and puts their dimensions one after the other."""
    if len(parts) == 1:
        return parts[0]
    joint, each = zip(*parts, strict=True)
    return torch.stack(joint).sum(0), torch.cat(each, 1)


def _log_matmul(log_q: Tensor) -> Tensor:
    """Sums q(z_a|x) q(z_b|x) over data: its log, shape ``(draws, dimensions, dimensions)``.

    What underflows is negligible next to the draw's own datum.
    """
    top = log_q.amax(-1, keepdim=True).clamp(min=torch.finfo(log_q.dtype).min)
    scaled = (log_q - top).exp()
    return (scaled @ scaled.mT).log() + top + top.mT


def _num_draws(run: list[Batch]) -> int:
    return sum(batch.count for batch in run) * run[0].num_samples


def by_site(columns: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Gives numbers of each dimension their sites' event shapes, where marginals are known."""
    known = {name: q for name, q in batch.densities.items() if q.num_marginals}
    parts = torch.split(columns, [q.num_marginals for q in known.values()])
    return {
        name: part.reshape(q.event_shape)
        for (name, q), part in zip(known.items(), parts, strict=True)
    }
