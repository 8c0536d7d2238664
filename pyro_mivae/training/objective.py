"""Model, guide and ELBO as the one module that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_mivae.infer import CompiledELBO, compile_elbo
from pyro_mivae.infer.any_elbo import loss_terms, with_terms
from pyro_mivae.traces.call import Call


class Objective(nn.Module):
    """Model, guide and ELBO as one module whose forward gives the terms of the loss.

    Args:
        model: A Pyro model, a module or a function.
        guide: Its guide.
        elbo: A :class:`~pyro_mivae.infer.TraceMI_ELBO` or an ELBO of Pyro.
        compile: Whether to use :func:`~pyro_mivae.infer.compile_elbo`, or what it has made.

    Attributes:
        behind: Modules that model and guide use without being them, see :meth:`hold`.

    Raises:
        ValueError: If what was compiled is of another model, guide or ELBO.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        elbo: ELBO,
        compile: bool | CompiledELBO = False,  # noqa: A002 -- torch's word
    ) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.behind = nn.ModuleList()
        self.elbo = with_terms(elbo)
        if isinstance(compile, CompiledELBO):
            parts = compile.model, compile.guide, compile.elbo
            if not all(a is b for a, b in zip(parts, (model, guide, self.elbo), strict=True)):
                raise ValueError(
                    "compile: expected what compile_elbo made of this model, guide and ELBO, found "
                    "that of others: pass the same objects to both, or compile=True"
                )
        elif compile:
            compile = compile_elbo(self.elbo, model, guide)  # noqa: A001
        # As an attribute of a tuple: its parameters are this module's already.
        self._compiled = (compile,) if isinstance(compile, CompiledELBO) else ()

    @property
    def compiled(self) -> CompiledELBO | None:
        """The compiled ELBO, if asked for."""
        return self._compiled[0] if self._compiled else None

    def hold(self, modules: Sequence[nn.Module]) -> None:
        """Adds modules that functions, methods and objects call: their state is the objective's.

        Those that are parts of the objective already are left out.
        """
        parts = {id(module) for module in self.modules()}
        self.behind.extend(module for module in modules if id(module) not in parts)

    def forward(
        self, count: float, /, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Sums the terms over `count` data; the loss per datum beside them has the gradient."""
        if self.compiled is not None:
            return self.compiled.scaled_terms(args, kwargs, scale=1 / count)
        terms = loss_terms(self.elbo, Call(self.model, self.guide, args, kwargs))
        loss = terms["loss"]
        return {**terms, "loss": loss.detach()}, loss / count
