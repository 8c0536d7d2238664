"""An ELBO with its gradients as one compiled graph: the step without Pyro's Python."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
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
from pyro_mivae.infer.elbo import TraceMI_ELBO
from pyro_mivae.traces.call import Call

logger = logging.getLogger(__name__)

GRAPHS = 8  # for train and eval, whole batches and the last one, twice


class CompiledELBO(nn.Module):
    """See :func:`compile_elbo`.

    Attributes:
        graphs: What was compiled, in order.
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
        if max_graphs < 1:
            raise ValueError(f"max_graphs must be at least 1, found {max_graphs}")
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
        self.max_graphs = max_graphs
        self.graphs: list[Compiled] = []
        self.fallback: str | None = None
        self._by_key: dict[Any, Compiled] = {}
        self._reliance: Reliance | None = None
        self._relied: tuple[Any, ...] = ()
        self._scalars = Scalars()
        self._device = torch.device("cpu")
        self._full = False

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, as the ELBO's ``differentiable_loss``; shape ``()``, nats."""
        return self.scaled_terms(args, kwargs)[1]

    def terms(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The terms, as :meth:`TraceMI_ELBO.terms`; ``loss`` carries the gradient."""
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
        """The terms, detached, and the loss times `scale`, which carries the gradient.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            scale: For a mean over data: within the graph it costs nothing.
            always_dual: Whether to report the information at ``mi_weight=0``, too.
        """
        if self.fallback is None:
            weights = self.elbo.weights() if isinstance(self.elbo, TraceMI_ELBO) else (0.0, 1.0)
            try:
                leaves, spec = pytree.tree_flatten((args, kwargs))
                if not self._unchanged():
                    self._look_again(args, kwargs)
                found = self._find(leaves, spec, weights, always_dual)
                if found is not None:
                    return self._call(found, leaves, weights, scale)
            except NotCapturedError as error:
                reads = type(getattr(self.elbo, "base", None)) is TraceEnum_ELBO
                self._fall_back(ENUM_READS if reads else str(error))
        terms = self._eager(args, kwargs, None, always_dual)
        return {k: v.detach() for k, v in terms.items()}, terms["loss"] * scale

    def _eager(
        self, args: Any, kwargs: Any, weights: tuple[Any, Any] | None, always_dual: bool
    ) -> dict[str, Tensor]:
        options = {"always_dual": always_dual, "weights": weights}
        return loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs), **options)

    def _fall_back(self, reason: str) -> None:
        self.fallback = reason
        self._by_key.clear()
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
        if self._by_key and self._reliance is not None:
            logger.info("captured again: %s changed", self._reliance.changed() or "the program")
        self._by_key.clear()
        parts = (self.model, self.guide)
        self._device = device_of(pytree.tree_leaves((args, kwargs)), parts)
        with repeatable(parts, self._device):
            used, called = uses_of(lambda: self._eager(args, kwargs, None, True))
        self._reliance = Reliance([*parts, *called], used)
        self._relied = self._program()

    def _find(
        self, leaves: list[Any], spec: Any, weights: tuple[Any, Any], always_dual: bool
    ) -> Compiled | None:
        assert self._reliance is not None
        skip = not isinstance(weights[0], Tensor) and weights[0] == 0
        device = self._device
        key = (
            spec,
            *signature(leaves),
            self._reliance.modes(),
            (skip, always_dual, torch.is_grad_enabled()),
            (torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)),
        )
        try:
            found = self._by_key.get(key)
        except TypeError as error:
            raise NotCapturedError(
                f"an argument is neither a tensor nor a constant to compare: {error}"
            ) from error
        if found is not None or self._full:
            return found
        if len(self.graphs) == self.max_graphs:
            self._full = True
            warnings.warn(
                f"{self.max_graphs} graphs were compiled, and there is need for more (this call's "
                f"tensors: {[tuple(x.shape) for x in leaves if isinstance(x, Tensor)]}): calls "
                "that fit none of them run in eager mode. Use few batch sizes, or raise max_graphs",
                stacklevel=4,
            )
            return None
        made = self._capture(leaves, spec, weights, skip, always_dual)
        self._by_key[key] = made
        self.graphs.append(made)
        return made

    def _capture(
        self,
        leaves: list[Any],
        spec: Any,
        weights: tuple[Any, Any],
        skip: bool,
        always_dual: bool,
    ) -> Compiled:
        assert self._reliance is not None
        device = self._device
        trained: list[Tensor] = []
        names: list[str] = []
        weighted = type(getattr(self.elbo, "base", None)) in WEIGHTED_BASES

        def evaluate(args: Any, kwargs: Any, mi_weight: Tensor, kl_weight: Tensor) -> Any:
            given = (0.0 if skip else mi_weight, kl_weight if weighted else 1.0)
            terms = self._eager(args, kwargs, given, always_dual)
            names[:] = list(terms)
            return terms

        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        step = step_function(evaluate, leaves, spec, places, trained, device)
        example = [leaves[i].detach().requires_grad_(leaves[i].requires_grad) for i in places]
        made = make_graph(
            step,
            [*example, *self._scalars((*weights, 1.0), device)],
            parts=(self.model, self.guide),
            device=device,
            keep_draws=self.eager_random,
            backend=self.backend,
            options=self.options,
        )
        made.leaves, made.names = trained, names
        made.shapes = [tuple(tensor.shape) for tensor in example]
        logger.info("compiled %s", made)
        return made

    def _call(
        self, made: Compiled, leaves: list[Any], weights: tuple[Any, Any], scale: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        inputs = [*tensors, *self._scalars((*weights, scale), self._device)]
        values = made(inputs, self._device)
        wanted = made.leaves
        if torch.is_grad_enabled():
            wanted = [*wanted, *(tensor for tensor in tensors if tensor.requires_grad)]
        count = 1 + len(wanted)
        terms = dict(zip(made.names, values[count:], strict=False))  # then draws of no use
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
    """An ELBO of a model/guide pair whose value and gradients are one compiled graph.

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
        backend: Of :func:`torch.compile`.
        mode: Of :func:`torch.compile`; ``"reduce-overhead"`` uses CUDA graphs.
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
