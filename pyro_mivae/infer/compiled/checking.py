"""A recorded step against an eager one: what a program reads from Python's state is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.infer.compiled.capture import repeatable
from pyro_mivae.infer.compiled.graphs import Compiled

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of a step, relative to the loss or the gradient; 0.03 in half precision.

The operations are the same, so that on a CPU the numbers are, too. On a GPU sums may be taken in
another order.
"""


class RecordingError(RuntimeError):
    """A recorded step gives other numbers than an eager one; the message says which."""


def check_recorded(
    graph: Compiled, inputs: Sequence[Tensor], parts: Sequence[Any], device: torch.device
) -> None:
    """Compares the recorded operations of a graph with the program, from one random state.

    Random states, buffers and gradients are afterwards as they were.

    Args:
        graph: Graph of a step.
        inputs: Tensors of the arguments, then settings and scale.
        parts: Programs and modules whose buffers the step may change.
        device: Device that the step is computed on.

    Raises:
        RecordingError: If loss, gradients or terms differ by more than rounding.
    """
    assert graph.step is not None
    own = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
    with repeatable(parts, device):
        eager = graph.step(*own)
    with repeatable(parts, device):
        recorded = graph.replay(inputs, device)
    half = torch.is_autocast_enabled(device.type)
    tolerance = 0.03 if half else TOLERANCES.get(eager[0].dtype, 0.03)
    if difference := _difference(graph, eager, recorded, tolerance):
        raise RecordingError(
            f"the recorded step gives {difference}. The program depends on something that was a "
            "constant when it was recorded: a number or a flag of Python's, a counter, or random "
            "numbers that are not torch's. Keep it in a tensor or a buffer, which a recorded step "
            "reads anew, or train with compile=False"
        )


def _difference(
    graph: Compiled, eager: Sequence[Tensor], recorded: Sequence[Tensor], tolerance: float
) -> str:
    """What differs, in words; empty where nothing does."""
    count = len(eager) - len(graph.names)
    names = ["loss", *[f"gradient {i}" for i in range(1, count)], *graph.names]
    loss = float(eager[0].abs())
    gradients = [gradient.double().norm() for gradient in eager[1:count]]
    overall = float(torch.stack(gradients).norm()) if gradients else 0.0
    for place, (name, a, b) in enumerate(zip(names, eager, recorded, strict=False)):
        size = overall if 0 < place < count else max(loss, float(a.double().norm()))
        apart = float((a.double() - b.double()).norm())
        if apart <= tolerance * size or not (a.isfinite().all() or b.isfinite().all()):
            continue
        if a.dim():
            of = f"shape {tuple(a.shape)}"
            return f"a gradient of {of} that is {apart:.4g} from the eager one, of norm {size:.4g}"
        return f"{name} = {float(b):.7g}, but in eager mode it is {float(a):.7g}"
    return ""
