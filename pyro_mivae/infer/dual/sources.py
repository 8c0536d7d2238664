"""Which argument the model took its data from, where the data are no view of one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance, track_provenance
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.views import Frames, full_shape
from pyro_mivae.isolation import undisturbed
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.rerun import plate_indices, run_again
from pyro_mivae.traces.sites import latent_sites

logger = logging.getLogger(__name__)


def source_of(site: str, forward: Forward, call: Call, frames: Frames) -> list[int]:
    """Finds the argument that the data of a site were taken from.

    Equal values are no proof: in a subsample a rare binary covariate equals the data often. The
    model is run again on arguments that carry marks. The data have to carry the mark of one
    argument, and to be that argument's values at the plates' indices, but for the number type.

    Args:
        site: The site.
        forward: The forward run.
        call: The pair and its arguments.
        frames: The plates around the site, with the indices of the forward run.

    Returns:
        The argument's place among the leaves of the arguments; empty if it is not certain.
    """
    leaves = pytree.tree_leaves((call.args, dict(call.kwargs)))
    marked = _marked(call, [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)])
    original = forward.originals[site]
    try:
        with torch.no_grad(), undisturbed([call.model], original.device), poutine.block():
            trace = run_again(call.model, marked.args, marked.kwargs, plate_indices(forward.trace))
    except Exception as error:  # foreign code may reject marked tensors
        logger.debug("could not follow the arguments through the model: %s", error)
        return []
    if site not in trace:
        return []
    sources = get_provenance(trace.nodes[site]["value"])
    if len(sources) != 1:
        return []
    [index] = sources
    return [index] if _same(original, leaves[index], frames) else []


def _marked(call: Call, places: Collection[int]) -> Call:
    """The call with marks on the leaves of its arguments at these places."""
    leaves, spec = pytree.tree_flatten((call.args, dict(call.kwargs)))
    for index in places:
        leaves[index] = track_provenance(leaves[index], frozenset({index}))
    return call.with_arguments(*pytree.tree_unflatten(leaves, spec))


def _same(original: Tensor, leaf: Tensor, frames: Frames) -> bool:
    """Whether data are an argument's values at the plates' indices."""
    shape = full_shape(original.shape, frames)
    if leaf.numel() != shape.numel():
        # A plate may say that there are more data than the call has.
        same_size = leaf.numel() == original.numel()
        return same_size and _equal(original, leaf.reshape(original.shape))
    taken = leaf.reshape(shape)
    for dim, indices, _ in frames:
        taken = taken.index_select(dim, indices)
    if taken.numel() != original.numel():
        return False  # broadcast along a plate
    return _equal(original, taken.reshape(original.shape))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether `one` holds the numbers of `other`, in its own precision; NaN equals NaN."""
    if one.is_floating_point() and other.is_floating_point():
        other = other.to(one.dtype)
    return bool(((one == other) | ((one != one) & (other != other))).all())


def require_no_copy(sources: Mapping[str, list[int]], call: Call) -> None:
    """Refuses a guide that reads a copy of the data, in which x' can't be put with certainty.

    Args:
        sources: The arguments that hold the data of each site, as places among the leaves.
        call: The pair and its arguments.

    Raises:
        ValueError: If the guide reads another argument that holds the same numbers.
    """
    leaves = pytree.tree_leaves((call.args, dict(call.kwargs)))
    bound = {index for places in sources.values() for index in places}
    copies: dict[int, str] = {}
    for site, places in sources.items():
        for source in (leaves[index] for index in places):
            for index, leaf in enumerate(leaves):
                if index not in bound and isinstance(leaf, Tensor) and _is_copy(leaf, source):
                    copies[index] = site
    if not copies:
        return
    try:
        parts = [call.model, call.guide]
        device = leaves[next(iter(copies))].device
        with torch.no_grad(), undisturbed(parts, device), poutine.block():
            trace = _marked(call, copies).trace_guide()
            trace.compute_log_prob()
    except Exception as error:
        logger.debug("could not follow the arguments through the guide: %s", error)
        return
    names = call.names_of_leaves()
    for name in latent_sites(trace):
        for index in get_provenance(trace.nodes[name]["log_prob"]):
            site = copies[index]
            [source, *_] = sources[site]
            raise ValueError(
                f"the guide's site '{name}' reads the argument {names[index]}, which holds the "
                f"same numbers as {names[source]}, the data of site '{site}'. If it is a copy of "
                f"the data, x' has to go there: say data_args={{'{site}': "
                f"{names[index].strip(chr(39))!r}}}. If it is a covariate, say "
                f"data_args={{'{site}': {names[source].strip(chr(39))!r}}}"
            )


def _is_copy(leaf: Tensor, source: Tensor) -> bool:
    if leaf.shape != source.shape or leaf.dtype != source.dtype:
        return False
    if leaf.untyped_storage()._cdata == source.untyped_storage()._cdata or not leaf.numel():
        return False
    varied = bool((source != source.flatten()[0]).any())
    return varied and _equal(leaf, source)
