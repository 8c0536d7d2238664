"""The function that compiles an ELBO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.infer import ELBO

from pyro_mivae.infer.compiled.compiled_elbo import CompiledELBO
from pyro_mivae.infer.compiled.graph_cache import GRAPHS


def compile_elbo(
    elbo: ELBO,
    model: Any,
    guide: Any,
    *,
    backend: str | Callable[..., Any] | None = "inductor",
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
    every call. What depends on the value of a tensor can't be recorded; then the pair runs in eager
    mode after one warning. Without a compiler the recorded operations run one by one, after one
    warning, too. A graph is made for each shape of
    the arguments and each mode of the modules. Parameters and buffers that are other objects
    than before (a swapped encoder, a cleared store, a changed constraint) are noticed and the
    pair is captured again. *Not* noticed: what the program reads from Python's own state, as
    an attribute that is a number; it is a constant of the graph.

    Args:
        elbo: A :class:`TraceMI_ELBO` or any ELBO of Pyro with a ``differentiable_loss``.
        model: A Pyro model.
        guide: Its guide.
        backend: Backend of :func:`torch.compile`. None runs the recorded operations one by one:
            they are there in less than a second.
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
