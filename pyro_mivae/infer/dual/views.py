"""Views and subsamples: which tensor shows which part of another, and writing x' through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

Frames = list[tuple[int, Tensor, int]]
"""``(dim of the value, indices, full size)`` of each plate, subsampled or not."""

Writer = Callable[[Tensor, Tensor], Tensor]
"""``(argument, x') -> argument with x' in it``."""


def plate_frames(trace: poutine.Trace, site: str) -> Frames:
    """Lists the vectorised plates around `site` that know which of their data they hold."""
    node = trace.nodes[site]
    frames = []
    for frame in node["cond_indep_stack"]:
        if frame.vectorized and frame.name in trace:  # not so for a plate without a size
            dim = frame.dim - node["fn"].event_dim
            frames.append((dim, trace.nodes[frame.name]["value"], frame.full_size))
    return frames


def scatter(full: Tensor, value: Tensor, frames: Frames) -> Tensor:
    """Writes `value`, a subsample, into a copy of `full` at the plates' indices.

    Args:
        full: The argument that holds all data; the shape of `value` with the plates'
            full sizes, or a reshape of that.
        value: x' at the subsample.
        frames: ``(dim, indices, full size)`` of each plate.
    """

    def write(target: Tensor, rest: Frames) -> Tensor:
        if not rest:
            return value.expand(target.shape)
        dim, indices, _ = rest[0]
        return target.index_copy(dim, indices, write(target.index_select(dim, indices), rest[1:]))

    target = full.detach().to(value.dtype).reshape(full_shape(value.shape, frames))
    return write(target, frames).reshape(full.shape)


def in_type_of(value: Tensor, argument: Tensor, channel: str) -> Tensor:
    """Returns x' in the number type of the argument that it replaces.

    Draws of counts are floating in torch, and a guide may index by its integer data. A mean is no
    integer, and a straight-through draw has to carry a gradient: both stay floating.
    """
    if value.dtype == argument.dtype:
        return value
    if argument.is_floating_point() or argument.is_complex():
        return value.to(argument.dtype)
    return value if channel in ("mean", "straight-through") else value.to(argument.dtype)


def full_shape(shape: Sequence[int], frames: Frames) -> torch.Size:
    """Computes the shape of a site's value if its plates were not subsampled."""
    # A value with fewer dimensions than its plates is broadcast along them.
    depth = max((-dim for dim, _, _ in frames), default=0)
    sizes = [1] * (depth - len(shape)) + list(shape)
    for dim, _, full_size in frames:
        sizes[dim] = full_size
    return torch.Size(sizes)


def _same_storage(a: Tensor, b: Any) -> bool:
    # data_ptr() is 0 on fake and meta tensors, the storage's address is not.
    if not isinstance(b, Tensor) or a.layout != torch.strided or b.layout != torch.strided:
        return False
    return bool(a.untyped_storage()._cdata == b.untyped_storage()._cdata)


def _extent(value: Tensor) -> tuple[int, int]:
    """First and last storage position of a non-empty tensor."""
    first = int(value.storage_offset())
    span = sum(int((n - 1) * s) for n, s in zip(value.shape, value.stride(), strict=True))
    return first, first + span


def is_view(value: Tensor, leaf: Any) -> bool:
    """Tells whether `leaf` is `value` or a view that shows the same numbers."""
    if not _same_storage(value, leaf) or value.numel() == 0 or value.dtype != leaf.dtype:
        return False
    same_layout = value.shape == leaf.shape and value.stride() == leaf.stride()
    return (
        value.numel() == leaf.numel()
        and (same_layout or leaf.is_contiguous())
        and _extent(value) == _extent(leaf)
    )


def is_part(value: Tensor, leaf: Tensor) -> bool:
    """Tells whether `value` is a slice (or strided part) of `leaf`, which has no overlaps."""
    if not _same_storage(value, leaf) or value.numel() == 0 or value.dtype != leaf.dtype:
        return False
    overlaps = any(
        n > 1 and s == 0 for t in (value, leaf) for n, s in zip(t.shape, t.stride(), strict=True)
    )
    if overlaps or leaf.numel() == 0:
        return False
    (first, last), (leaf_first, leaf_last) = _extent(value), _extent(leaf)
    if not leaf_first <= first <= last <= leaf_last:
        return False
    if leaf.numel() == leaf_last + 1 - leaf_first:
        return True  # dense: no position between its first and last is another tensor's
    positions = torch.arange(leaf_last + 1 - leaf_first)
    offset = first - leaf_first
    mine = positions[offset:].as_strided(value.shape, value.stride())
    theirs = positions.as_strided(leaf.shape, leaf.stride())
    return bool(torch.isin(mine, theirs).all())


def whole_writer(original: Tensor, leaf: Tensor) -> Writer:
    """Puts x' in place of an argument that `original` shows as a whole."""
    same_order = original.stride() == leaf.stride() or original.is_contiguous()
    if not same_order:  # a transposed view
        return part_writer(original, leaf)
    shape = leaf.shape
    return lambda _, value: value.reshape(shape)


def part_writer(original: Tensor, leaf: Tensor) -> Writer:
    """Puts x' at the places of an argument that `original` shows."""
    # In the storage between the argument's first and last number, whatever its strides are.
    first, last = _extent(leaf)
    offset = original.storage_offset() - first

    def write(target: Tensor, value: Tensor) -> Tensor:
        # The gradient of as_strided_scatter is wrong for the tensor that it writes into (torch
        # 2.14), and `target` may hold another site's x': it writes into zeros.
        zeros = torch.zeros(last + 1 - first, dtype=value.dtype, device=value.device)
        value = value.reshape(original.shape)
        placed = zeros.as_strided_scatter(value, original.shape, original.stride(), offset)
        shown = torch.zeros_like(zeros, dtype=torch.bool)
        shown.as_strided(original.shape, original.stride(), offset).fill_(True)
        shape, stride = leaf.shape, leaf.stride()
        return torch.where(
            shown.as_strided(shape, stride),
            placed.as_strided(shape, stride),
            target.to(value.dtype),
        )

    return write


def fit(value: Tensor, target: Any, site: str, trace: poutine.Trace, argument: str | int) -> Tensor:
    """Returns x' in the shape of the argument that it replaces."""
    if not isinstance(target, Tensor):
        return value
    if value.is_floating_point() and not target.is_floating_point():
        raise ValueError(
            f"data_args sends site '{site}' ({describe(value)}) to the argument {argument!r} "
            f"({describe(target)}): the model converts its data, and x' has to be converted back; "
            "pass a callable data_args=lambda generated, args, kwargs: (new_args, new_kwargs)"
        )
    if target.shape == value.shape:
        return value
    if target.numel() == value.numel():
        return value.reshape(target.shape)
    frames = plate_frames(trace, site)
    if frames and target.numel() == full_shape(value.shape, frames).numel():
        return scatter(target, value, frames)
    raise ValueError(
        f"data_args sends site '{site}' of shape {tuple(value.shape)} to the argument "
        f"{argument!r} of shape {tuple(target.shape)}: the sizes differ; pass a callable "
        "data_args=lambda generated, args, kwargs: (new_args, new_kwargs) instead"
    )


def describe(value: Any) -> str:
    """Describes a value for an error message: dtype and shape, or its type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
