"""What a dual pass looks at once for each pair, since it waits for the device."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.infer.dual.channel import Channel, Forward, NoMeanError
from pyro_mivae.infer.guide_checks import require_code_support
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.infer.supports import EDGE_REMEDY, at_edge
from pyro_mivae.traces.sites import Codes, latent_sites, masks_of, unwrap

logger = logging.getLogger(__name__)


def require_finite_means(forward: Forward, channel: Channel, memory: PairMemory) -> None:
    """Refuses means that are infinite or NaN, in the first forward run of a pair.

    Args:
        forward: The forward run.
        channel: How x' was generated.
        memory: What is known of the pair.

    Raises:
        ValueError: If the channel hands on a mean of an observed site that is not finite.
    """
    if memory.means_checked or channel not in ("mean", "straight-through"):
        return
    for name in forward.generated:
        fn = forward.trace.nodes[name]["fn"]
        if channel == "straight-through" and getattr(fn, "has_rsample", False):
            continue
        mean: Tensor = fn.mean
        counted = _count(~mean.isfinite())
        if counted is None:
            return  # tensors without values: looked at in a later call
        if counted:
            raise NoMeanError(
                f"channel {channel!r} needs the mean of every observed site"
                f"{'' if channel == 'mean' else ' without a reparameterised sampler'}, but "
                f"{counted} of {mean.numel()} means of site '{name}' are infinite or NaN: a "
                f"{type(unwrap(fn)).__name__} has no finite mean at these parameters. "
                f"{NoMeanError.REMEDY.capitalize()}"
            )
    memory.means_checked = True


def require_same_masks(forward: Forward, guide_trace: Any, codes: Codes) -> None:
    """Refuses a code whose density model and guide leave out for different data.

    Where a mask depends on noise, the guide draws its own, and log q and log p would be sums over
    different data.

    Args:
        forward: The forward run.
        guide_trace: The guide at the codes.
        codes: The code sites.

    Raises:
        ValueError: If the masks of a code differ.
    """
    for name in codes:
        device = forward.trace.nodes[name]["value"].device
        masks = [masks_of(trace.nodes[name], device) for trace in (forward.trace, guide_trace)]
        if _same_masks(*masks):
            continue
        noise = [site for site in latent_sites(forward.trace) if site not in codes]
        noise = [site for site in noise if site not in forward.generated]
        raise ValueError(
            f"the code site '{name}' is masked for other data in the guide than in the model, so "
            "that the guide's density and the prior's are of different data"
            + (
                f": add the sites that the mask depends on, among {noise}, to codes"
                if noise
                else ""
            )
            + ", or give both the same mask"
        )


def _same_masks(one: list[Tensor], other: list[Tensor]) -> bool:
    if not one and not other:
        return True
    if len(one) == len(other) and all(map(_same_view, one, other)):
        return True
    try:
        each = [functools.reduce(torch.logical_and, m) if m else None for m in (one, other)]
        first, second = (torch.ones(()).bool() if mask is None else mask for mask in each)
        device = (one or other)[0].device
        first, second = first.to(device), second.to(device)
        return bool((first == second).all())
    except RuntimeError:  # tensors without values
        return True


def _same_view(one: Tensor, other: Tensor) -> bool:
    """Whether two masks are the same numbers in memory."""
    if one.untyped_storage()._cdata != other.untyped_storage()._cdata:
        return False
    return (one.shape, one.stride(), one.storage_offset()) == (
        other.shape,
        other.stride(),
        other.storage_offset(),
    )


def look_at_codes(
    forward: Forward,
    guide_trace: Any,
    codes: Codes,
    memory: PairMemory,
    scales: Mapping[str, Any],
) -> None:
    """Compares prior and guide at the codes, in the first run of a pair.

    Args:
        forward: The forward run.
        guide_trace: The guide at the codes.
        codes: The code sites.
        memory: What is known of the pair.
        scales: Standard deviation of the normals that score a code; None for the guide's density.

    Raises:
        ValueError: As :func:`~pyro_mivae.infer.guide_checks.require_code_support`.
    """
    if memory.codes_checked.issuperset(codes):
        return
    require_code_support(forward.trace, guide_trace, codes, scales, memory.moving)
    for name in codes:
        site = forward.trace.nodes[name]
        edge = at_edge(site["fn"], site["value"])
        if edge is not None and (counted := _count(edge)):
            logger.warning(
                "%d of %d numbers of the code '%s' lie at an edge of its support, where %s has "
                "clamped or rounded them: their densities are not those of the draws, and the "
                "information term may be wrong. %s",
                *(counted, edge.numel(), name, str(site["value"].dtype).removeprefix("torch.")),
                EDGE_REMEDY,
            )
    memory.codes_checked.update(codes)


def _count(flags: Tensor) -> int | None:
    """How many are true; None for tensors that have no values (fake ones, the meta device)."""
    if flags.is_meta:
        return None
    try:
        return int(flags.sum())
    except RuntimeError as error:
        if type(error).__name__ not in ("DataDependentOutputException", "NotImplementedError"):
            raise
        return None
