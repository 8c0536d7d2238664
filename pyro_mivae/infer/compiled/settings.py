"""Weights and scales as inputs of a graph: which of them are numbers, and which are its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from pyro.infer import ELBO
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.base_parts import WEIGHTED_BASES
from pyro_mivae.infer.elbo import TraceMI_ELBO
from pyro_mivae.infer.schedule import is_zero

Settings = tuple[Any, Any, Any]
"""``(mi_weight, kl_weight, code_scale)`` of a step, each a number, a tensor or a dict of them."""


class StepSettings:
    """The settings of a step, flat.

    A scale that is None is part of a graph, and so is a weight of the information that is the
    number 0: its term is left out. The others are inputs, and may change from step to step.

    Args:
        settings: The settings.
        weighted: Whether the base takes a weight of its KL; else the number 1 is part of the graph.

    Attributes:
        inputs: Numbers and tensors that are inputs of the graph.
        key: What the graph depends on.
    """

    def __init__(self, settings: Settings, *, weighted: bool) -> None:
        mi_weight, kl_weight, code_scale = settings
        kept: list[Any] = []
        self.inputs: list[Any] = []
        parts = (mi_weight, kl_weight if weighted else 1.0, code_scale)
        self._leaves, self._spec = pytree.tree_flatten(parts)
        count = len(pytree.tree_leaves(mi_weight))
        for place, value in enumerate(self._leaves):
            own = value is None or (place < count and is_zero(value))
            own |= not weighted and place == count
            kept.append((value,) if own else None)
            if not own:
                self.inputs.append(value)
        self._kept = kept
        self.key: Hashable = (self._spec, tuple(kept))

    def filled(self, tensors: Sequence[Tensor]) -> Settings:
        """Returns the settings with tensors in the place of the inputs."""
        rest = iter(tensors)
        leaves = [next(rest) if own is None else own[0] for own in self._kept]
        settings: Settings = pytree.tree_unflatten(leaves, self._spec)
        return settings


def settings_of(elbo: ELBO) -> StepSettings:
    """Reads the settings of an ELBO at its step; one of Pyro's has no term and a weight of 1."""
    weighted = type(getattr(elbo, "base", None)) in WEIGHTED_BASES
    values = elbo.settings() if isinstance(elbo, TraceMI_ELBO) else (0.0, 1.0, None)
    return StepSettings(values, weighted=weighted)
