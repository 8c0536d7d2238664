"""The bound L_K of several draws: the importance-weighted dual, as IWAE is to the ELBO."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.infer.dual.channel import Channel, Forward
from pyro_mivae.infer.dual.guide_run import GuideRun
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.isolation import aside
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependent_plates import dependent_plates
from pyro_mivae.traces.importance import (
    Cells,
    log_joint,
    log_proposal,
    log_weight,
    proposed,
    shared_cells,
)
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.sites import Codes, latent_sites


@dataclass
class ManySamples:
    """L_K on one forward run.

    Attributes:
        bound: Bound of every cell, scaled; nats.
        cells: The cells.
        latent: The code sites.
        guide_traces: The fresh draws.
    """

    bound: Tensor
    cells: Cells
    latent: list[str]
    guide_traces: list[poutine.Trace]


def many_samples(
    run_guide: GuideRun,
    channel: Channel,
    num_samples: int,
    forward: Forward,
    guide_trace: poutine.Trace,
    codes: Codes,
    call: Call,
    memory: PairMemory,
) -> ManySamples:
    r"""Computes the bound of K draws, of which one is that which generated x'.

    .. math::

        L_K = \mathbb{E}\Big[\log p(x'|z_0) - \log \tfrac1K \sum_{k=0}^{K-1} w_k\Big]
        \le I(z; x'), \qquad w_k = \frac{p(z_k)\, p(x'|z_k)}{q(z_k|x')},

    where :math:`z_0, x'` are the forward run's and the others are the guide's; :math:`L_1` is the
    bound of Barber and Agakov. It grows with K.

    Args:
        run_guide: Runs the guide on x'.
        channel: How x' was generated. Under ``"sleep"`` nothing of the model gets a gradient.
        num_samples: K.
        forward: The forward run.
        guide_trace: The guide at the codes of the forward run.
        codes: The codes, all latent sites of the model.
        call: The pair and its arguments.
        memory: What is known of the pair.

    Raises:
        ValueError: If a latent site of the model is no code, or the sites' scales differ.
    """
    data = forward.generated
    latent = [name for name in latent_sites(forward.trace) if name not in data]
    noise = [name for name in latent if codes.get(name, ()) is not None]
    if noise:
        raise ValueError(
            f"num_dual_samples={num_samples} needs all latent sites of the model as codes, but "
            f"{noise} is not, or not as a whole: expected codes=None and a guide with all of "
            f"{latent}, or num_dual_samples=1"
        )
    fresh = [run_guide(forward, {}, call, memory) for _ in range(num_samples - 1)]
    cells = shared_cells(forward.trace, guide_trace, data)
    if memory.dependent is None:
        memory.dependent = _dependent(run_guide, forward, guide_trace, call, memory, cells)
    cells = cells.without(memory.dependent)
    scale = _common_scale(forward, latent)
    names = proposed(forward.trace, guide_trace, data)
    log_x = log_joint(forward.trace, names, data, cells, codes=codes)
    log_p = log_joint(forward.trace, names, data, cells)
    if channel == "sleep":  # a prior may hold parameters of its own
        log_x, log_p = log_x.detach(), log_p.detach()
    log_weights = [log_p - log_proposal(guide_trace, names, cells)]
    for trace in fresh:
        values = {**plate_indices(forward.trace), **latent_values(trace)}

        def joint(values: dict[str, Tensor]) -> Tensor:
            model_trace = run_again(call.model, call.args, call.kwargs, values, data)
            return log_joint(model_trace, names, data, cells)

        log_p = (
            _of_values_only(joint, values, trace, cells) if channel == "sleep" else joint(values)
        )
        log_weights.append(log_p - log_proposal(trace, names, cells))
    total = torch.stack(log_weights).logsumexp(0) - math.log(num_samples)
    bound = log_x - total
    return ManySamples(bound if scale == 1 else scale * bound, cells, latent, fresh)


def _dependent(
    run_guide: GuideRun,
    forward: Forward,
    guide_trace: poutine.Trace,
    call: Call,
    memory: PairMemory,
    cells: Cells,
) -> frozenset[str]:
    """Plates along which the weights depend on each other."""
    data, indices = forward.generated, plate_indices(forward.trace)
    args, kwargs = run_guide.bind(forward, call, memory)

    def run(values: Mapping[str, Tensor]) -> tuple[Any, Any]:
        at = {**indices, **values}
        guide = run_again(call.guide, args, kwargs, at)
        at |= latent_values(guide)
        return run_again(call.model, call.args, call.kwargs, at, data), guide

    parts, device = [call.model, call.guide], next(iter(data.values())).device

    def weigh(values: Mapping[str, Tensor]) -> Tensor:
        with aside(parts, device):
            return log_weight(*run(values), data, cells)

    def draw() -> Iterator[tuple[Any, Any]]:
        yield forward.trace, guide_trace
        with aside(parts, device):
            while True:
                yield run({})

    return dependent_plates(weigh, cells, draw())


def _common_scale(forward: Forward, latent: list[str]) -> Any:
    names = [*latent, *forward.generated]
    scales = {name: forward.trace.nodes[name]["scale"] for name in names}
    first = scales[names[0]]
    if any(scale is not first and not _same(scale, first) for scale in scales.values()):
        raise ValueError(
            "num_dual_samples > 1 weighs whole data, which takes one scale for all sites, but they "
            f"are {scales}: leave out poutine.scale, or use num_dual_samples=1 (they are compared "
            "if all are numbers, or tensors on the CPU)"
        )
    return first


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        on_host = all(isinstance(part, Tensor) and part.device.type == "cpu" for part in (a, b))
        return on_host and torch.equal(a, b)  # another device would have to be waited for
    return bool(a == b)


def _of_values_only(
    joint: Callable[[dict[str, Tensor]], Tensor],
    values: dict[str, Tensor],
    guide_trace: poutine.Trace,
    cells: Cells,
) -> Tensor:
    """``joint(values)`` with the gradient of the guide's draws, and none of the model's parameters.

    The parameters of an arbitrary model cannot be detached; its derivatives by the draws can be
    taken first.
    """
    leaves = {
        name: value.detach().requires_grad_() if value.requires_grad else value
        for name, value in values.items()
    }
    log_p = joint(leaves)
    moved = [name for name, value in values.items() if value.requires_grad]
    result = log_p.detach()
    if moved:
        slopes = torch.autograd.grad(log_p.sum(), [leaves[n] for n in moved], allow_unused=True)
        for name, slope in zip(moved, slopes, strict=True):
            if slope is not None:
                path = (values[name] - values[name].detach()) * slope
                event_dim = guide_trace.nodes[name]["fn"].event_dim
                path = path.flatten(path.dim() - event_dim).sum(-1) if event_dim else path
                result = result + cells.sum(path)
    return result
