"""An ELBO with its gradients as one compiled graph: the step without Pyro's Python."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.infer.compiled.capture import (
    NotCapturedError,
    Reliance,
    repeatable,
    uses_of,
)
from pyro_mivae.infer.compiled.checking import check_recorded
from pyro_mivae.infer.compiled.graph_cache import GRAPHS, GraphCache
from pyro_mivae.infer.compiled.graphs import (
    Compiled,
    Scalars,
    StepFunction,
    backend_options,
    signature,
    step_function,
    why_not,
)
from pyro_mivae.infer.compiled.making import make_graph
from pyro_mivae.infer.compiled.settings import Settings, StepSettings, settings_of
from pyro_mivae.isolation import device_of
from pyro_mivae.traces.call import Call

logger = logging.getLogger(__name__)


class CompiledELBO(nn.Module):
    """See :func:`compile_elbo`.

    Attributes:
        fallback: Why eager mode is used instead, or None.
        warns: Whether falling back to eager mode is a warning.
    """

    def __init__(
        self,
        elbo: ELBO,
        model: Any,
        guide: Any,
        *,
        backend: str | Callable[..., Any] | None = "inductor",
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
        self.warns = True
        self._cache = GraphCache(max_graphs)
        self._reliance: Reliance | None = None
        self._relied: tuple[Any, ...] = ()
        self._shapes_seen: set[tuple[torch.Size, ...]] = set()
        self._scalars = Scalars()
        self._device = torch.device("cpu")

    @property
    def graphs(self) -> list[Compiled]:
        """The compiled graphs, in order."""
        return self._cache.graphs

    def use(self, backend: str | Callable[..., Any] | None) -> None:
        """Takes another backend, or None: each graph is made anew when it is next called."""
        self.options = backend_options(backend, None, self.eager_random)
        self.backend = backend
        self._cache = GraphCache(self._cache.max_graphs)

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
        recorded = self._recorded(args, kwargs, scale, always_dual)
        if recorded is not None:
            return self._call(*recorded)
        terms = self._eager(args, kwargs, None, always_dual)
        return {k: v.detach() for k, v in terms.items()}, terms["loss"] * scale

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, scale: float = 1.0) -> None:
        """Compares what was recorded with an eager step; nothing that they draw or change stays.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            scale: As for :meth:`scaled_terms`.

        Raises:
            RecordingError: If the program depends on something that recording has frozen.
        """
        recorded = self._recorded(args, kwargs, scale, False)
        if recorded is not None:
            assert self._reliance is not None
            check_recorded(recorded[0], recorded[2], self._reliance.modules, self._device)

    def _recorded(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], scale: float, always_dual: bool
    ) -> tuple[Compiled, list[Tensor], list[Tensor]] | None:
        """The graph of a call, the call's tensors, and all inputs; None for eager mode."""
        if self.fallback is not None:
            return None
        settings = settings_of(self.elbo)
        try:
            leaves, spec = pytree.tree_flatten((args, kwargs))
            if not self._unchanged():
                self._look_again(args, kwargs)
            graph = self._find(leaves, spec, settings, always_dual)
        except NotCapturedError as error:
            self._fall_back(why_not(self.elbo, error))
            return None
        if graph is None:
            return None
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        scalars = self._scalars((*settings.inputs, scale), self._device)
        return graph, tensors, [*tensors, *scalars]

    def _eager(
        self, args: Any, kwargs: Any, settings: Settings | None, always_dual: bool
    ) -> dict[str, Tensor]:
        options = {"always_dual": always_dual, "settings": settings}
        return loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs), **options)

    def _fall_back(self, reason: str) -> None:
        self.fallback = reason
        self._cache.clear()
        words = f"this model and guide run in eager mode, without compile_elbo: {reason}"
        if self.warns:
            warnings.warn(words, stacklevel=4)
        else:
            logger.info(words)

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
        self._device = device_of(parts, pytree.tree_leaves((args, kwargs)))
        # With gradients: what is looked at once can't be looked at in a capture.
        with repeatable(parts, self._device), torch.enable_grad():
            used, called = uses_of(lambda: self._eager(args, kwargs, None, True))
        self._reliance = Reliance([*parts, *called], used)
        self._relied = self._program()
        self._shapes_seen = {_shapes_of(pytree.tree_leaves((args, kwargs)))}

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
        return self._cache.get(
            key,
            lambda: self._capture(leaves, spec, settings, always_dual),
            [tuple(shape) for shape in _shapes_of(leaves)],
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
        self._run_shapes(leaves, spec, always_dual)
        trained: list[Tensor] = []
        names: list[str] = []

        def evaluate(args: Any, kwargs: Any, inputs: Sequence[Tensor]) -> Any:
            terms = self._eager(args, kwargs, settings.filled(inputs), always_dual)
            names[:] = list(terms)
            return terms

        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        others = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]  # no batch is kept
        step = step_function(evaluate, others, spec, places, trained, device)
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
        logger.info("made %s", graph)
        return graph

    def _run_shapes(self, leaves: list[Any], spec: Any, always_dual: bool) -> None:
        """Runs the pair once in eager mode if the shapes are new.

        What it keeps by shape (as ``functools.cache`` does) is then real, and no tensor of the
        capture that nobody else can use.
        """
        if (shapes := _shapes_of(leaves)) in self._shapes_seen:
            return
        self._shapes_seen.add(shapes)
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        with repeatable((self.model, self.guide), self._device), torch.enable_grad():
            self._eager(args, kwargs, None, always_dual)

    def _call(
        self, graph: Compiled, tensors: list[Tensor], inputs: list[Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        values = graph(inputs, self._device)
        wanted = graph.leaves
        if torch.is_grad_enabled():
            wanted = [*wanted, *(tensor for tensor in tensors if tensor.requires_grad)]
        count = 1 + len(wanted)
        terms = dict(zip(graph.names, values[count:], strict=False))  # then draws of no use
        loss = StepFunction.apply(values[:count], *wanted) if wanted else values[0]
        return terms, loss


def _shapes_of(leaves: list[Any]) -> tuple[torch.Size, ...]:
    return tuple(leaf.shape for leaf in leaves if isinstance(leaf, Tensor))
