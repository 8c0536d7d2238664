"""Plates along which a draw without a pathwise gradient moves the terms of other cells.

A plate says that its cells are independent, and Pyro does not look. A guide may read x' along a
plate of time, by a recurrent network or a convolution. A draw in one cell then moves the terms of
others, and a score-function term that weighs it by those of its own cell is biased.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.score_function import scored_draws
from pyro_mivae.isolation import aside
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependent_plates import REDRAWS, choose, patterns, same_draws
from pyro_mivae.traces.importance import density, plates
from pyro_mivae.traces.sites import Codes, keep_masked, unmasked

logger = logging.getLogger(__name__)

Values = dict[str, Tensor]
Numbers = dict[tuple[str, str], Tensor]
"""A number of each cell along a plate, shape ``(size,)``, by site and what it is."""


@dataclass(frozen=True)
class Runs:
    """A forward run with the guide on it, and how both are run with other draws.

    Attributes:
        forward: The forward run.
        guide_trace: The guide on x'; None to look at the model alone.
        codes: The codes.
        call: The pair and its arguments.
        generate: Runs the model forward, its draws without a pathwise gradient given.
        read: Runs the guide on a forward run, its own such draws given.
    """

    forward: Forward
    guide_trace: poutine.Trace | None
    codes: Codes
    call: Call
    generate: Callable[[Values], Forward]
    read: Callable[[Forward, Values], poutine.Trace]

    def sides(self) -> list[_Side]:
        """Returns the draws of model and guide without a pathwise gradient."""
        forward = self.forward
        sides = [_Side.of(forward.trace, forward.score_sites, forward.originals)]
        if self.guide_trace is not None:
            names = scored_draws(self.guide_trace, self.codes)
            sides.append(_Side.of(self.guide_trace, names, {}))
        return sides

    def numbers(self, plate: str, drawn: list[Values]) -> Numbers:
        """Computes what the draws may move: their own densities, those of the codes, and x'.

        Args:
            plate: The plate, along whose cells the numbers are told apart.
            drawn: The draws without a pathwise gradient, of the model and, if it is looked at, of
                the guide.
        """
        forward = self.generate(drawn[0])
        traces = [forward.trace]
        if self.guide_trace is not None:
            traces.append(self.read(forward, drawn[1]))
        numbers: Numbers = {}
        for side, trace, given in zip("pq", traces, drawn, strict=False):
            for name in {*given, *self.codes}:
                site = trace.nodes.get(name)
                dim = None if site is None else _dim(site, plate)
                if site is not None and dim is not None:
                    if name not in self.codes and name not in forward.generated:
                        # A mask hides the density of noise, but not its draw.
                        site = {**site, "fn": unmasked(site["fn"]), "mask": None}
                    numbers[name, side] = _along(density(site), dim)
        for name, value in forward.generated.items():
            site = forward.trace.nodes[name]
            dim = _dim(site, plate)
            if dim is not None:
                numbers[name, "value"] = _along(value, dim - site["fn"].event_dim)
        return numbers


@dataclass(frozen=True)
class _Side:
    """Draws of one program without a pathwise gradient, and others from the same distributions."""

    trace: poutine.Trace
    values: Values
    others: Values

    @classmethod
    def of(cls, trace: poutine.Trace, names: list[str], data: Values) -> _Side:
        """Draws others of some sites; what is masked keeps its data."""
        values, others = {}, {}
        for name in names:
            site = trace.nodes[name]
            values[name] = site["value"]
            others[name] = keep_masked(site, _redrawn(site), data.get(name))
        return cls(trace, values, others)

    def plates(self) -> dict[str, int]:
        """The sizes of the plates that the draws are in."""
        sizes: dict[str, int] = {}
        for name in self.values:
            site = self.trace.nodes[name]
            names = {f.dim: f.name for f in site["cond_indep_stack"] if f.vectorized}
            sizes |= {names[dim]: size for dim, size in plates(site).items()}
        return sizes

    def mixed(self, plate: str, pick: Tensor) -> Values:
        """The draws, with the others in the cells of a plate that `pick` says."""
        values = dict(self.values)
        for name, other in self.others.items():
            site = self.trace.nodes[name]
            dim = _dim(site, plate)
            if dim is not None:
                values[name] = choose(pick, other, values[name], dim - site["fn"].event_dim)
        return values


def crossed_plates(runs: Runs) -> frozenset[str]:
    """Names the plates along which draws without a pathwise gradient move terms of other cells.

    Two values of these draws are put together along a plate: the terms of each cell have to be
    those of the run that it has its draws from. All other draws have the same noise.

    Args:
        runs: The runs of model and guide.

    Returns:
        The names; none where foreign code can't be run so.
    """
    device = next(iter(runs.forward.generated.values())).device
    try:
        with pyro.validation_enabled(False):  # a mean may lie outside of the support
            return frozenset(_crossed(runs, device))
    except Exception as error:  # foreign code, or tensors without values
        logger.debug("could not look whether draws move the terms of other cells: %s", error)
        return frozenset()


def _crossed(runs: Runs, device: torch.device) -> Iterator[str]:
    parts = [runs.call.model, runs.call.guide]
    with aside(parts, device):
        sides = runs.sides()
    sizes = {plate: size for side in sides for plate, size in side.plates().items()}

    def numbers(plate: str, pick: Tensor) -> Numbers:
        with aside(parts, device):  # the same noise in each run
            return runs.numbers(plate, [side.mixed(plate, pick) for side in sides])

    for plate, size in sizes.items():
        picks = patterns(size, device)
        if picks:
            nowhere = torch.zeros(size, dtype=torch.bool, device=device)
            ends = numbers(plate, ~nowhere), numbers(plate, nowhere)
            if any(_moved(numbers(plate, pick), *ends, pick) for pick in picks):
                yield plate


def _dim(site: dict[str, Any], plate: str) -> int | None:
    """The dimension of a plate in the batch of a site; None outside of it."""
    frames = site["cond_indep_stack"]
    return next((f.dim for f in frames if f.vectorized and f.name == plate), None)


def _redrawn(site: dict[str, Any]) -> Tensor:
    """Draws another value of a site, one that differs in each of its draws if that is likely."""
    fn, old = unmasked(site["fn"]), site["value"]
    value: Tensor = fn.sample()
    for _ in range(REDRAWS):
        same = same_draws(old, value, fn.event_dim)
        if not same.any():
            break
        value = torch.where(same, fn.sample(), value)
    return value


def _along(values: Tensor, dim: int) -> Tensor:
    """Sums over all but a dimension; shape ``(size,)``."""
    rows = values.reshape((1,) * (-dim - values.dim()) + values.shape).movedim(dim, 0)
    return rows.reshape(len(rows), -1).sum(1)


def _moved(mixed: Numbers, one: Numbers, other: Numbers, pick: Tensor) -> bool:
    """Whether a number of some cell is not that of the run that it has its draws from."""
    return any(
        not torch.allclose(number, choose(pick, one[key], other[key], -1), **_tolerance(number))
        for key, number in mixed.items()
        if key in one and key in other
    )


def _tolerance(numbers: Tensor) -> dict[str, Any]:
    """What rounding may change: the rows of a product do not read the others' numbers."""
    small = 1e-2 if numbers.dtype in (torch.float16, torch.bfloat16) else 1e-5
    return {"rtol": small, "atol": small, "equal_nan": True}
