"""The step of one copy as a graph of tensors, its draws among the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, fx

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.any_elbo import loss_terms
from pyro_mivae.infer.compiled.capture import NotCapturedError, capture, repeatable, unchecked
from pyro_mivae.infer.compiled.graphs import step_function, why_not
from pyro_mivae.infer.compiled.settings import StepSettings
from pyro_mivae.infer.schedule import is_zero
from pyro_mivae.traces.call import Call
from pyro_mivae.training.many.copies import CopyLoop
from pyro_mivae.training.many.draws import Draw, lift_draws


@dataclass
class Recorded:
    """The step of one copy.

    Attributes:
        module: Takes data, settings and scale, then `lifted`, then the draws; returns the loss,
            its gradients, the terms, and then the values that draws depend on.
        lifted: Parameters, buffers and other tensors that the step reads.
        leaves: Parameters whose gradients it gives.
        names: Names of the terms.
        groups: The draws.
    """

    module: fx.GraphModule
    lifted: list[Tensor]
    leaves: list[Tensor]
    names: list[str]
    groups: list[list[Draw]]

    @property
    def outputs(self) -> int:
        """The number of outputs before the values that draws depend on."""
        return 1 + len(self.leaves) + len(self.names)


@dataclass(frozen=True)
class Inputs:
    """What a step of a copy is given.

    Attributes:
        leaves: The arguments of model and guide, flat.
        spec: Nesting of the arguments.
        settings: Weights and scales at the step.
        scalars: Their tensors, and the scale of the loss.
    """

    leaves: list[Any]
    spec: Any
    settings: StepSettings
    scalars: list[Tensor]


def look(loop: CopyLoop, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Runs the loss of a copy once, the dual pass included, so that nothing is left to be found."""
    parts = (loop.objective.model, loop.objective.guide)
    elbo = loop.elbo
    dual = isinstance(elbo, TraceMI_ELBO) and not is_zero(elbo.mi_weight)
    with loop.in_place(), repeatable(parts, loop.fabric.device):
        loss_terms(elbo, Call(*parts, args, kwargs), always_dual=dual)


def record(loop: CopyLoop, inputs: Inputs) -> Recorded:
    """Records the step of a copy; nothing is computed and no number drawn.

    Raises:
        NotCapturedError: If the step can't be recorded.
    """
    model, guide, elbo = loop.objective.model, loop.objective.guide, loop.elbo
    device = loop.fabric.device
    leaves = inputs.leaves
    trained: list[Tensor] = []
    names: list[str] = []

    def evaluate(args: Any, kwargs: Any, tensors: Sequence[Tensor]) -> Any:
        call = Call(model, guide, args, kwargs)
        terms = loss_terms(elbo, call, settings=inputs.settings.filled(tensors))
        names[:] = list(terms)
        return terms

    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    example = [leaves[place].detach() for place in places] + inputs.scalars
    with (
        loop.in_place(),
        repeatable((model, guide), device),
        pyro.validation_enabled(False),
        unchecked(),
        loop.fabric.autocast(),
        torch.enable_grad(),
    ):
        step = step_function(evaluate, leaves, inputs.spec, places, trained, device)
        try:
            graph = capture(step, example, keep_draws=True)
        except NotCapturedError as error:
            raise NotCapturedError(why_not(elbo, error)) from error
    outputs = 1 + len(trained) + len(names)
    groups = lift_draws(graph.module.graph, outputs)
    module = fx.GraphModule(torch.nn.Module(), graph.module.graph)
    return Recorded(module, graph.lifted, trained, names, groups)
