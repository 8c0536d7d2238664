"""Bounds on the information from both sides, on the x' of one run of the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.information.edges import EdgeDraws
from pyro_mivae.information.proposal import Proposal, depth, log_sums
from pyro_mivae.progress import Progress
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.importance import Cells, log_weight, shared_cells
from pyro_mivae.traces.sites import Codes, latent_sites, points, site_log_prob


class Bounds:
    """The bounds on the x' of one forward run."""

    def __init__(
        self,
        dual: DualPass,
        call: Call,
        parallel: int | None,
        first: bool,
        edges: EdgeDraws,
    ) -> None:
        memory = dual.memories(call)
        # The noise is the guide's own draw, as in training.
        self.forward, self.guide_trace, self.codes = dual.traces(call)
        if not self.codes:
            raise ValueError("every code site is observed in this call: there is nothing to bound")
        self.trace = self.forward.trace
        data = self.forward.generated
        latent = [name for name in latent_sites(self.trace) if name not in data]
        edges.look(self.trace, [*latent, *data])
        self.noise = [name for name in latent if self.codes.get(name, ()) is not None]
        _require_densities(self.trace, self.guide_trace, self.noise)
        if first:
            upstream = dependencies(poutine.uncondition(call.model), call.args, call.kwargs)
            _require_roots(self.codes, [*self.noise, *data], upstream)
        # The guide at the very draws that generated x'.
        self.true_trace = self.guide_trace
        if self.noise:
            everything = dict.fromkeys(latent)
            self.true_trace = dual.run_guide(self.forward, everything, call, memory)
        self.cells: Cells = shared_cells(self.trace, self.guide_trace, data)
        bound = dual.run_guide.bind(self.forward, call, memory)
        self.proposals = [
            Proposal(
                call,
                guide_args=bound,
                data=data,
                counted=list(data),
                source=self.trace,
                codes=given,
                cells=self.cells,
                depth=depth(self.trace, self.guide_trace),
                parallel=parallel,
                edges=edges,
            )
            for given in ({}, self.codes)
        ]
        if memory.dependent is None:
            memory.dependent = self.proposals[0].dependent_plates()
        self.cells = self.cells.without(memory.dependent)
        for proposal in self.proposals:
            proposal.cells = self.cells

    def __call__(self, counts: tuple[int, ...], bar: Progress) -> tuple[Tensor, Tensor, Tensor]:
        """L_K and U_K, shape ``(len(counts), cells)``, and the Barber-Agakov bound."""
        data = self.forward.generated
        w_0, v_0 = (
            log_weight(self.trace, self.true_trace, data, self.cells, codes=given)
            for given in ({}, self.codes)
        )
        needed = {k for count in counts for k in (count - 1, count)}
        # Flat: parallel draws have the cells' padding, single ones have not.
        w_0, v_0 = w_0.double().reshape(-1), v_0.double().reshape(-1)
        w = _flat(log_sums(self.proposals[0], needed, bar))
        v = _flat(log_sums(self.proposals[1], needed, bar)) if self.noise else {}
        lower, upper = [], []
        for k in counts:
            above, below = v_0, v_0
            if self.noise:
                above = torch.logaddexp(v_0, v[k - 1].to(v_0)) - math.log(k)
                below = v[k] - math.log(k)
            upper.append(above - (w[k] - math.log(k)))
            lower.append(below - (torch.logaddexp(w_0, w[k - 1].to(w_0)) - math.log(k)))
        barber_agakov: Any = 0.0
        for name, dims in self.codes.items():
            q, p = ({**t.nodes[name], "scale": 1.0} for t in (self.guide_trace, self.trace))
            ratio = self.cells.sum(site_log_prob(q, dims)) - self.cells.sum(site_log_prob(p, dims))
            barber_agakov = barber_agakov + ratio.double()
        one_row = (len(counts), -1)
        bounds = torch.stack(lower).reshape(one_row), torch.stack(upper).reshape(one_row)
        return *bounds, barber_agakov.reshape(-1)


def _flat(sums: dict[int, Tensor]) -> dict[int, Tensor]:
    return {count: total.reshape(-1) for count, total in sums.items()}


def _require_densities(model_trace: Any, guide_trace: Any, noise: Iterable[str]) -> None:
    drawn = [name for name in noise if name in guide_trace and not points(model_trace, [name])]
    if places := points(guide_trace, drawn):
        raise ValueError(
            f"the guide's sites {places} are points (Delta), as Pyro's autoguides make them: the "
            "bounds need the density of the guide at the model's draws. Expected a guide that "
            "samples them from a density, or take the Barber-Agakov bound of "
            "TraceMI_ELBO(...).terms"
        )


def _require_roots(codes: Codes, noise: Iterable[str], upstream: dict[str, frozenset[str]]) -> None:
    for name in codes:
        causes = sorted(upstream.get(name, frozenset()) & set(noise) - {name})
        if causes:
            raise ValueError(
                f"code site '{name}' depends on {causes} in the model, so that p({name}) is not "
                "known: expected codes at the root. Add latent sites to codes, name data that are "
                "given with observed, or take the Barber-Agakov bound of TraceMI_ELBO(...).terms"
            )
