"""Plates that take a part of the data: whose indices, and which codes a part carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.views import full_shape, plate_frames, scatter
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.traces.call import Args, Call, Kwargs
from pyro_mivae.traces.scoring import site_density
from pyro_mivae.traces.sites import Codes


class SubsampledByGuideError(Exception):
    """The guide's plate takes a part of the data, of which the forward run has drawn all.

    Attributes:
        plate: The plate's name.
    """

    def __init__(self, plate: str) -> None:
        super().__init__(plate)
        self.plate = plate


def check_indices(msg: Mapping[str, Any], indices: Any) -> None:
    """Refuses a guide's plate that takes fewer data than the forward run has.

    Raises:
        SubsampledByGuideError: If it does.
    """
    given = msg["value"]
    wanted = msg["fn"].subsample_size if given is None else len(given)
    if wanted is not None and wanted < len(indices):
        raise SubsampledByGuideError(msg["name"])


def subsampled_by_guide(call: Call, memory: PairMemory) -> dict[str, Tensor]:
    """Draws the indices of the plates that only the guide subsamples.

    It is Pyro's idiom to say ``subsample_size`` in the guide's plate alone: its ELBOs replay the
    indices into the model. So does the forward run, which comes before the guide's.

    Args:
        call: The pair and its arguments.
        memory: What is known of the pair.

    Returns:
        Indices by the plate's name; empty where the model subsamples for itself.
    """
    if not memory.guide_plates:
        return {}
    with torch.no_grad(), poutine.block():
        trace = call.trace_guide()
    return {name: trace.nodes[name]["value"] for name in memory.guide_plates if name in trace}


def outside_of_plates(forward: Forward, codes: Codes) -> dict[str, Any]:
    """Finds the codes that are outside of a plate which takes a part of the data.

    Returns:
        Such a plate's frame by code.
    """
    outside: dict[str, Any] = {}
    for name in forward.generated:
        for frame in forward.trace.nodes[name]["cond_indep_stack"]:
            if frame.full_size is None or frame.size >= frame.full_size:
                continue
            for code in codes:
                stack = forward.trace.nodes[code]["cond_indep_stack"]
                if frame.name not in [other.name for other in stack]:
                    outside[code] = frame
    return outside


def without_real_data(
    forward: Forward, bound: tuple[Args, Kwargs], call: Call
) -> tuple[Args, Kwargs]:
    """Returns the guide's arguments with x' repeated in the place of the real data beside it.

    Args:
        forward: The forward run.
        bound: The guide's arguments, with x' at the plates' indices.
        call: The pair and its arguments.
    """
    originals, _ = pytree.tree_flatten((call.args, dict(call.kwargs)))
    leaves, spec = pytree.tree_flatten(bound)
    for name, value in forward.generated.items():
        frames = plate_frames(forward.trace, name)
        full = full_shape(value.shape, frames)
        for index, (leaf, original) in enumerate(zip(leaves, originals, strict=False)):
            if leaf is original or not isinstance(leaf, Tensor) or leaf.numel() != full.numel():
                continue
            filled = value
            for dim, _, size in frames:
                places = torch.arange(size, device=value.device) % filled.shape[dim]
                filled = filled.index_select(dim, places)
            leaves[index] = scatter(filled.reshape(leaf.shape).to(leaf.dtype), value, frames)
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    return args, kwargs


def require_generated_only(
    outside: Mapping[str, Any], codes: Codes, before: poutine.Trace, after: poutine.Trace
) -> None:
    """Refuses a guide that reads real data for a code outside of a subsampled plate.

    All data carry such a code. x' is a part of them, and the rest would be the real data, which
    the code did not generate.

    Args:
        outside: What :func:`outside_of_plates` found.
        codes: All codes.
        before: The guide's run on x' beside the real data.
        after: The same, at the same draws, without the real data.

    Raises:
        ValueError: If the density of such a code is another one.
    """
    for code, frame in outside.items():
        pair = [trace.nodes[code] for trace in (before, after) if code in trace]
        one, other = map(site_density, pair)
        if torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
            continue
        inside = [name for name in codes if name not in outside]
        raise ValueError(
            f"the plate '{frame.name}' takes {frame.size} of {frame.full_size} data, but the code "
            f"site '{code}' is outside of it, and the guide reads all data for it: a part of them "
            "would be x' and the rest the real data, which the code did not generate. Expected "
            "codes inside the plate"
            + (f" (codes={inside})" if inside else "")
            + ", a guide that reads the data at the plate's indices alone, or the plate without "
            "subsampling"
        )
