"""An ELBO with its gradients as one compiled graph: the step without Pyro's Python."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.infer.base_parts import WEIGHTED_BASES
from pyro_mivae.infer.compiled.capture import (
    NotCapturedError,
    Reliance,
    repeatable,
    uses_of,
)
from pyro_mivae.infer.compiled.graph_cache import GRAPHS, GraphCache
from pyro_mivae.infer.compiled.graphs import (
    ENUM_READS,
    Compiled,
    Scalars,
    StepFunction,
    backend_options,
    device_of,
    make_graph,
    signature,
    step_function,
)
from pyro_mivae.infer.compiled.settings import Settings, StepSettings
from pyro_mivae.infer.elbo import TraceMI_ELBO
from pyro_mivae.traces.call import Call

logger = logging.getLogger(__name__)


class CompiledELBO(nn.Module):
    """See :func:`compile_elbo`.

    Attributes:
        fallback: Why eager mode is used instead, or None.
    """

    def __init__(
        self,
        elbo: ELBO,
        model: Any,
        guide: Any,
        *,
        backend: str | Callable[..., Any] = "inductor",
        mode: str | None = None,
        eager_random: bool = True,
        max_graphs: int = GRAPHS,
    ) -> None:
        super().__init__()
        if not hasattr(elbo, "differentiable_loss"):
            raise ValueError(
                f"compile_elbo takes an ELBO with a differentiable_loss, found {elbo!r}, which has "
                "none: use Trace_ELBO, TraceMeanField_ELBO or a TraceMI_ELBO"
            )
        self.elbo = with_terms(elbo)
        self.model = model
        self.guide = guide
        self.backend = backend
        self.eager_random = eager_random
        self.options = backend_options(backend, mode, eager_random)
        self.fallback: str | None = None
        self._cache = GraphCache(max_graphs)
        self._reliance: Reliance | None = None
        self._relied: tuple[Any, ...] = ()
        self._scalars = Scalars()
        self._device = torch.device("cpu")

    @property
    def graphs(self) -> list[Compiled]:
        """The compiled graphs, in order."""
        return self._cache.graphs

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Computes the loss, as the ELBO's ``differentiable_loss``; shape ``()``, nats."""
        return self.scaled_terms(args, kwargs)[1]

    def terms(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Computes the terms, as :meth:`TraceMI_ELBO.terms`; ``loss`` carries the gradient."""
        terms, loss = self.scaled_terms(args, kwargs, always_dual=True)
        return {**terms, "loss": loss}

    def scaled_terms(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        scale: float = 1.0,
        always_dual: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Computes the terms, detached, and the loss times `scale`, which carries the gradient.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            scale: For a mean over data: within the graph it costs nothing.
            always_dual: Whether to report the information at ``mi_weight=0``, too.
        """
        if self.fallback is None:
            settings = self._settings()
            try:
                leaves, spec = pytree.tree_flatten((args, kwargs))
                if not self._unchanged():
                    self._look_again(args, kwargs)
                graph = self._find(leaves, spec, settings, always_dual)
                if graph is not None:
                    return self._call(graph, leaves, settings, scale)
            except NotCapturedError as error:
                reads = type(getattr(self.elbo, "base", None)) is TraceEnum_ELBO
                self._fall_back(ENUM_READS if reads else str(error))
        terms = self._eager(args, kwargs, None, always_dual)
        return {k: v.detach() for k, v in terms.items()}, terms["loss"] * scale

    def _settings(self) -> StepSettings:
        weighted = type(getattr(self.elbo, "base", None)) in WEIGHTED_BASES
        mine = isinstance(self.elbo, TraceMI_ELBO)
        return StepSettings(self.elbo.settings() if mine else (0.0, 1.0, None), weighted=weighted)

    def _eager(
        self, args: Any, kwargs: Any, settings: Settings | None, always_dual: bool
    ) -> dict[str, Tensor]:
        options = {"always_dual": always_dual, "settings": settings}
        return loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs), **options)

    def _fall_back(self, reason: str) -> None:
        self.fallback = reason
        self._cache.clear()
        warnings.warn(
            f"this model and guide run in eager mode, without compile_elbo: {reason}", stacklevel=4
        )

    def _unchanged(self) -> bool:
        same = [a is b for a, b in zip(self._program(), self._relied, strict=False)]
        return self._reliance is not None and all(same) and self._reliance.holds()

    def _program(self) -> tuple[Any, ...]:
        return self.model, self.guide, self.elbo, getattr(self.elbo, "num_dual_particles", 0)

    def _look_again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs the pair once in eager mode; what was captured before is dropped."""
        if self._cache and self._reliance is not None:
            logger.info("captured again: %s changed", self._reliance.changed() or "the program")
        self._cache.clear()
        parts = (self.model, self.guide)
        self._device = device_of(pytree.tree_leaves((args, kwargs)), parts)
        with repeatable(parts, self._device):
            used, called = uses_of(lambda: self._eager(args, kwargs, None, True))
        self._reliance = Reliance([*parts, *called], used)
        self._relied = self._program()

    def _find(
        self, leaves: list[Any], spec: Any, settings: StepSettings, always_dual: bool
    ) -> Compiled | None:
        assert self._reliance is not None
        device = self._device
        key = (
            spec,
            *signature(leaves),
            self._reliance.modes(),
            (settings.key, always_dual, torch.is_grad_enabled()),
            (torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)),
        )
        shapes = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]
        return self._cache.get(
            key, lambda: self._capture(leaves, spec, settings, always_dual), shapes
        )

    def _capture(
        self,
        leaves: list[Any],
        spec: Any,
        settings: StepSettings,
        always_dual: bool,
    ) -> Compiled:
        assert self._reliance is not None
        device = self._device
        trained: list[Tensor] = []
        names: list[str] = []

        def evaluate(args: Any, kwargs: Any, inputs: Sequence[Tensor]) -> Any:
            terms = self._eager(args, kwargs, settings.filled(inputs), always_dual)
            names[:] = list(terms)
            return terms

        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        step = step_function(evaluate, leaves, spec, places, trained, device)
        example = [leaves[i].detach().requires_grad_(leaves[i].requires_grad) for i in places]
        graph = make_graph(
            step,
            [*example, *self._scalars((*settings.inputs, 1.0), device)],
            parts=(self.model, self.guide),
            device=device,
            keep_draws=self.eager_random,
            backend=self.backend,
            options=self.options,
        )
        graph.leaves, graph.names = trained, names
        graph.shapes = [tuple(tensor.shape) for tensor in example]
        logger.info("compiled %s", graph)
        return graph

    def _call(
        self, graph: Compiled, leaves: list[Any], settings: StepSettings, scale: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        inputs = [*tensors, *self._scalars((*settings.inputs, scale), self._device)]
        values = graph(inputs, self._device)
        wanted = graph.leaves
        if torch.is_grad_enabled():
            wanted = [*wanted, *(tensor for tensor in tensors if tensor.requires_grad)]
        count = 1 + len(wanted)
        terms = dict(zip(graph.names, values[count:], strict=False))  # then draws of no use
        loss = StepFunction.apply(values[:count], *wanted) if wanted else values[0]
        return terms, loss


def compile_elbo(
    elbo: ELBO,
    model: Any,
    guide: Any,
    *,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    eager_random: bool = True,
    max_graphs: int = GRAPHS,
) -> CompiledELBO:
    """Compiles the value and the gradients of an ELBO of a model/guide pair into one graph.

    The pair is run once as usual, which makes its parameters and finds where x' goes. Then the
    loss, the dual pass and the gradients are recorded as a graph of tensor operations, which
    takes data, parameters, lambda, beta and random numbers as inputs, and ``torch.compile``
    compiles it. What Pyro does in Python at every step (traces, plates, handlers) is gone::

        loss_fn = compile_elbo(elbo, vae.model, vae.guide)
        optimizer = torch.optim.Adam(loss_fn.parameters())
        loss = loss_fn(x)
        loss.backward()

    For *static* programs: the sites, their shapes and the control flow have to be the same in
    every call. What depends on the value of a tensor can't be recorded; then, and where there is
    no compiler, the pair runs in eager mode after one warning. A graph is made for each shape of
    the arguments and each mode of the modules. Parameters and buffers that are other objects
    than before (a swapped encoder, a cleared store, a changed constraint) are noticed and the
    pair is captured again. *Not* noticed: what the program reads from Python's own state, as
    an attribute that is a number; it is a constant of the graph.

    Args:
        elbo: A :class:`TraceMI_ELBO` or any ELBO of Pyro with a ``differentiable_loss``.
        model: A Pyro model.
        guide: Its guide.
        backend: Backend of :func:`torch.compile`.
        mode: Mode of :func:`torch.compile`; ``"reduce-overhead"`` uses CUDA graphs.
        eager_random: Whether random numbers are drawn by the same operations as in eager mode:
            then one seed gives the same loss and gradients (but for ``torch.bernoulli`` in
            double precision, which Inductor puts another operation for). Else they are equal
            in distribution.
        max_graphs: Graphs to make at most; a shape beyond them runs in eager mode, with a
            warning.

    Returns:
        A module; its parameters are the model's and the guide's, if these are modules. For
        functions, give the optimiser the unconstrained parameters of Pyro's store after a first
        call.
    """
    return CompiledELBO(
        elbo,
        model,
        guide,
        backend=backend,
        mode=mode,
        eager_random=eager_random,
        max_graphs=max_graphs,
    )
