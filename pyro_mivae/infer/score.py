"""Score-function gradients of the dual pass, with a leave-one-out baseline."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.infer.util import MultiFrameTensor
from torch import Tensor

from pyro_mivae.infer.channel import Channel, Forward
from pyro_mivae.infer.sites import Codes, latent_sites, site_log_prob, unmasked


def score_functions(
    forward: Forward, guide_trace: poutine.Trace, codes: Codes, channel: Channel
) -> list[tuple[dict[str, Any], Tensor]]:
    """log-probabilities, unscaled and unmasked, of the draws without a pathwise gradient.

    These are the forward run's, unless nothing of it has a gradient, and the
    guide's own draws of sites (or dimensions) that are not code.
    """
    found = []
    if channel != "sleep":
        for name in forward.score_sites:
            site = forward.trace.nodes[name]
            found.append((site, unmasked(site["fn"]).log_prob(site["value"])))
    for name in latent_sites(guide_trace):
        site, fn = guide_trace.nodes[name], guide_trace.nodes[name]["fn"]
        if getattr(fn, "has_rsample", False) or (name in codes and codes[name] is None):
            continue
        log_q = unmasked(fn).log_prob(site["value"])
        if name in codes:
            log_q = log_q - site_log_prob({**site, "scale": 1.0, "mask": None}, codes[name])
        found.append((site, log_q))
    return [(site, log_q) for site, log_q in found if log_q.requires_grad]


def leave_one_out(
    cost: MultiFrameTensor, downstream: Tensor, frames: frozenset[Any]
) -> Tensor | float:
    """Mean cost of the other data, which a datum's own draw cannot have influenced.

    That holds along the plates that all cost terms and the site are in; elsewhere,
    and for a batch of one, there is no baseline.
    """
    common = frames.intersection(*cost.keys())
    dims = [f.dim for f in common if -f.dim <= downstream.dim() and downstream.shape[f.dim] > 1]
    if not dims:
        return 0.0
    count = torch.Size([downstream.shape[d] for d in dims]).numel()
    return (downstream.sum(dims, keepdim=True) - downstream) / (count - 1)


class BatchNormWatch:
    """Notices batch normalisation in training mode, which makes data depend on each other."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self.coupled = False

    def __enter__(self) -> BatchNormWatch:
        if self.active:
            register = torch.nn.modules.module.register_module_forward_pre_hook
            self._handle = register(self._look)
        return self

    def _look(self, module: torch.nn.Module, inputs: Any) -> None:
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.training:
            self.coupled = True

    def __exit__(self, *exception: object) -> None:
        if self.active:
            self._handle.remove()
