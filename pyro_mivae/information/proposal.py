"""Many draws of a guide on the same data, and the log-weights of their sums."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.infer.dual.guide_run import ReplayCodes
from pyro_mivae.information.edges import EdgeDraws
from pyro_mivae.isolation import forked_random
from pyro_mivae.progress import Progress
from pyro_mivae.traces.call import Args, Call
from pyro_mivae.traces.dependent_plates import dependent_plates
from pyro_mivae.traces.importance import Cells, log_weight
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.sites import Codes, latent_sites, unwrap

logger = logging.getLogger(__name__)

_PLATE = "_pyro_mivae_draws"
_ELEMENTS = 2**21
"""Numbers of one site, value or parameter, at once: a few of these have to fit the memory."""


@dataclass
class Proposal:
    """A guide as proposal for the latent sites of a model, on data that stay the same.

    Several draws are evaluated at once in a plate on the left of all others, if model and guide
    allow for it: the first time, their log-weights are compared with those of single runs at the
    same draws. Else they run one at a time.

    Attributes:
        call: The pair, with the arguments that the data were drawn with.
        guide_args: The guide's arguments, with the data in place.
        data: The data, by site: given values in place of what is observed there.
        counted: The observed sites whose density counts.
        source: A run with the plates' indices and the codes' values.
        codes: The code sites (or dimensions) that are given; all else is drawn.
        cells: The plates along which the weights factorise.
        depth: Batch dimensions of model and guide at most, see :func:`depth`.
        parallel: The most draws at once; None chooses by the size of the sites.
        edges: Counts the draws that lie at an edge of their support.
    """

    call: Call
    guide_args: tuple[Args, Mapping[str, Any]]
    data: Mapping[str, Tensor]
    counted: Sequence[str]
    source: Any
    codes: Codes
    cells: Cells
    depth: int
    parallel: int | None = None
    edges: EdgeDraws = field(default_factory=EdgeDraws)
    _checked: bool = False
    _at_once: int = 1

    def __post_init__(self) -> None:
        if self.parallel is None:
            names = (*self.counted, *latent_sites(self.source))
            largest = max(_size(self.source.nodes[name]) for name in names)
            self._at_once = max(1, _ELEMENTS // largest)
        elif self.parallel < 1:
            raise ValueError(f"parallel must be at least 1, or None, found {self.parallel}")
        else:
            self._at_once = self.parallel

    def dependent_plates(self) -> frozenset[str]:
        """Names the plates along which the weights depend on each other, by a few draws."""

        def draw() -> Iterator[tuple[Any, Any]]:
            with forked_random(self.source.nodes[self.counted[0]]["value"].device):
                while True:
                    yield self._run(None)[1]

        return dependent_plates(lambda at: self._run(None, at)[0], self.cells, draw())

    def draws(self, count: int) -> Iterator[Tensor]:
        """Yields log-weights of `count` draws in parts, nats, double precision, ``(part, cells)``.

        Raises:
            ValueError: If one is NaN.
        """
        while count:
            weights = self._draw(min(self._at_once, count)).double()
            if bool(weights.isnan().any()):
                raise ValueError(
                    f"{int(weights.isnan().sum())} of {weights.numel()} log-weights are NaN: model "
                    "or guide has parameters or densities that are not finite"
                )
            yield weights
            count -= len(weights)

    def _draw(self, size: int) -> Tensor:
        if size > 1 and not self._checked:
            self._checked = True
            try:
                weights, traces = self._run(size)
                reason = self._difference(weights, traces)
            except Exception as error:  # whatever foreign code does in an unexpected plate
                reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            if reason is None:
                return weights
            logger.info("draws run one at a time, not in a plate of their own (%s)", reason)
            self._at_once = 1
        if self._at_once == 1 or size == 1:
            return torch.stack([self._run(None)[0] for _ in range(size)])
        return self._run(size)[0]

    def _run(
        self, size: int | None, at: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Any, Any]]:
        """Log-weights of draws, or `at` given values, and the traces of model and guide."""
        model, guide, lead = self.call.model, self.call.guide, None
        if size is not None:
            lead = -1 - self.depth
            model, guide = (_in_plate(fn, size, lead) for fn in (model, guide))
        if at is None:
            traced = poutine.trace(ReplayCodes(self.source, self.codes)(guide))
            guide_trace = traced.get_trace(*self.guide_args[0], **self.guide_args[1])
        else:
            guide_trace = run_again(guide, *self.guide_args, at)
        if at is None:
            self.edges.look(guide_trace, [n for n in latent_sites(guide_trace) if n in self.source])
        given = {**(at or {}), **plate_indices(self.source), **latent_values(guide_trace)}
        model_trace = run_again(model, self.call.args, self.call.kwargs, given, self.data)
        weights = log_weight(
            model_trace, guide_trace, self.counted, self.cells, codes=self.codes, lead=lead
        )
        return weights, (model_trace, guide_trace)

    def _difference(self, weights: Tensor, traces: tuple[Any, Any]) -> str | None:
        """What speaks against parallel draws: the same draws, run alone, weigh otherwise."""
        for draw in (0, len(weights) - 1):
            values = plate_indices(self.source)
            for trace in traces:
                for name in latent_sites(trace):
                    value, event_dim = trace.nodes[name]["value"], trace.nodes[name]["fn"].event_dim
                    values[name] = value.select(-1 - self.depth - event_dim, draw)
            alone, _ = self._run(None, values)
            # Sums of thousands of terms, rounded otherwise: a half of them has to agree by 2^-8.
            half = any(value.dtype in (torch.float16, torch.bfloat16) for value in values.values())
            rtol = 1e-2 if half else 1e-5
            if not torch.allclose(alone, weights[draw], rtol=rtol, atol=1e-2, equal_nan=True):
                error = float((alone - weights[draw]).abs().max())
                return f"log-weights at the same draws differ by up to {error:.3g}"
        return None


def _size(site: Any) -> int:
    """Numbers in the value of a site or in the largest parameter of its distribution."""
    parameters = [part for part in vars(unwrap(site["fn"])).values() if isinstance(part, Tensor)]
    return max(1, *(int(part.numel()) for part in (site["value"], *parameters)))


def depth(*traces: Any) -> int:
    """Counts the most batch dimensions of a site."""
    sites = [site for trace in traces for site in trace.nodes.values() if site["type"] == "sample"]
    return max(len(site["fn"].batch_shape) for site in sites if not site_is_subsample(site))


def _in_plate(fn: Any, size: int, dim: int) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with pyro.plate(_PLATE, size, dim=dim):
            return fn(*args, **kwargs)

    return wrapped


def log_sums(proposal: Proposal, counts: Iterable[int], bar: Progress) -> dict[int, Tensor]:
    """Computes the log of the sum of the first k weights, for each k in `counts`, streaming.

    Args:
        proposal: Makes the weights.
        counts: Numbers k of draws; the sum of none is minus infinity.
        bar: Moved on by the draws.

    Returns:
        Nats in double precision, each of the cells' shape.

    Raises:
        ValueError: If a log-weight is NaN.
    """
    total = torch.tensor(-torch.inf, dtype=torch.float64)
    sums, done = {0: total}, 0
    for count in sorted(set(counts) - {0}):
        for weights in proposal.draws(count - done):
            total = torch.logaddexp(total.to(weights.device), weights.logsumexp(0))
            bar.update(len(weights))
        sums[count], done = total, count
    return sums
