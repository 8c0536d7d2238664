"""Graphs made of a function: recorded, then compiled where a backend can."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_mivae.infer.compiled.capture import (
    NotCapturedError,
    capture,
    repeatable,
    unchecked,
    validation_kept,
)
from pyro_mivae.infer.compiled.graphs import Compiled

MANY = 600
"""Operations of a graph whose compilation is announced; an MLP pair has 450."""
SECONDS = 0.1
"""Time that Inductor takes for an operation: 75 s for 777 of a GRU, one core of a CPU."""

logger = logging.getLogger(__name__)


def make_graph(
    step: Callable[..., tuple[Tensor, ...]],
    example: list[Tensor],
    *,
    parts: tuple[Any, ...],
    device: torch.device,
    keep_draws: bool,
    backend: Any,
    options: dict[str, Any],
) -> Compiled:
    """Captures a function of tensors, and compiles it where there is a backend that can.

    Args:
        step: The function, see :func:`step_function`.
        example: Its inputs.
        parts: Model and guide, whose buffers are left alone.
        device: The one to compute on.
        keep_draws: See :func:`~pyro_mivae.infer.compiled.capture.capture`.
        backend: Backend of :func:`torch.compile`; None to run the recorded operations one by one.
        options: Options of the backend.

    Raises:
        NotCapturedError: If it can't be captured, or what was captured can't be run.
    """
    started = time.thread_time()
    with repeatable(parts, device), pyro.validation_enabled(False), unchecked():
        captured_graph = capture(step, example, keep_draws=keep_draws)
    captured = time.thread_time()
    nodes = sum(node.op == "call_function" for node in captured_graph.module.graph.nodes)
    if backend == "inductor" and nodes > MANY:
        logger.warning(
            "the graph of this model and guide has %d operations: compiling it takes about %.0f "
            "seconds, unless it is in Inductor's cache. Loops over time, as those of recurrent "
            "networks, are recorded step by step",
            nodes,
            nodes * SECONDS,
        )
    # Not the module itself: hooks on all modules would see it.
    forward = captured_graph.module.forward
    graph = Compiled(
        nodes=nodes,
        capture_seconds=captured - started,
        run=forward,
        recorded=forward,
        step=step,
        lifted=captured_graph.lifted,
    )
    if backend is not None:
        _compile(graph, example, parts, device, backend, options)
    if not graph.compiled:
        try:
            with repeatable(parts, device):
                graph(example, device)
        except Exception as error:
            raise NotCapturedError(f"the recorded step can't be run: {_words(error)}") from error
    return graph


def _compile(
    graph: Compiled,
    example: list[Tensor],
    parts: tuple[Any, ...],
    device: torch.device,
    backend: Any,
    options: dict[str, Any],
) -> None:
    """Lets a backend compile a graph; where it can't, says so and leaves the graph as it is."""
    started = time.perf_counter()
    try:
        with validation_kept():
            graph.run = torch.compile(
                graph.recorded, backend=backend, dynamic=False, options=options or None
            )
        with validation_kept(), repeatable(parts, device):
            graph(example, device)
    except Exception as error:
        graph.run = graph.recorded
        warnings.warn(
            f"the backend can't compile the graph ({_words(error)}); Inductor needs a C++ compiler "
            "on a CPU and Triton on a GPU. The recorded operations run one by one, without "
            "Pyro's Python",
            stacklevel=2,
        )
    graph.compile_seconds = time.perf_counter() - started


def _words(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"
