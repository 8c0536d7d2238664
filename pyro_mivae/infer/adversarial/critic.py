"""Asking a discriminator: its arguments, its logits, and the gradient penalty."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pyro_mivae.infer.adversarial.comparison import Comparison
from pyro_mivae.infer.dual.views import is_view
from pyro_mivae.isolation import forked_random
from pyro_mivae.traces.call import Call, named_arguments, parameters_of


class Critic:
    """A discriminator with the arguments of a call that its ``forward`` takes.

    Args:
        discriminator: A module, see :class:`~pyro_mivae.infer.TraceMI_GAN`.

    Raises:
        ValueError: If it is no module.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        if not isinstance(discriminator, nn.Module):
            instance = isinstance(discriminator, type) and issubclass(discriminator, nn.Module)
            name = getattr(discriminator, "__name__", type(discriminator).__name__)
            raise ValueError(
                "discriminator: expected a torch.nn.Module that maps data to one logit for each "
                f"datum, found {name}" + (f": call it, {name}(...)" if instance else "")
            )
        self.discriminator = discriminator

    def arguments(self, call: Call) -> dict[str, Any]:
        """Returns the arguments of a call that the discriminator's ``forward`` names, too."""
        named = named_arguments(call.model, call.args, call.kwargs)
        return {name: named[name] for name in self._further() if name in named}

    def require_arguments(self, call: Call, comparison: Comparison) -> None:
        """Refuses a discriminator that needs what a call does not have, or the data themselves.

        Raises:
            ValueError: If it does.
        """
        named = named_arguments(call.model, call.args, call.kwargs)
        for name, parameter in self._further().items():
            if name not in named and parameter.default is parameter.empty:
                raise ValueError(
                    f"the discriminator's forward takes '{name}', which is no argument of the "
                    f"call: after the data it is given the arguments of the model by name, here "
                    f"{[key for key in named if isinstance(key, str)]}"
                )
            for site in comparison.sites if name in named else ():
                leaves = pytree.tree_leaves(named[name])
                if any(is_view(comparison.real[site], leaf) for leaf in leaves):
                    raise ValueError(
                        f"the discriminator's forward takes '{name}' after its first argument, "
                        f"and '{name}' holds the data of site '{site}': it would see the real data "
                        "beside the generated ones. The first argument of forward is the data, "
                        "real or generated; leave the other out or rename it"
                    )

    def __call__(
        self, data: Mapping[str, Tensor], comparison: Comparison, arguments: Mapping[str, Any]
    ) -> Tensor:
        """Returns one logit for each datum.

        Args:
            data: Data, real or generated, by site.
            comparison: What the data are taken from.
            arguments: What :meth:`arguments` has returned.

        Returns:
            Logits, shape ``(comparison.size,)``, or ``(1,)`` for data that are one datum.

        Raises:
            ValueError: If the discriminator gives another shape.
        """
        first, *others = data.values()
        logits = self.discriminator(dict(data) if others else first, **arguments)
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else None
        allowed = [(comparison.size,), (comparison.size, 1)]
        if comparison.single:
            allowed += [(), (1,), (1, 1)]
        if shape not in allowed:
            shapes = {site: tuple(value.shape) for site, value in data.items()}
            given = f"shape {shape}" if shape is not None else type(logits).__name__
            raise ValueError(
                f"the discriminator gave {given} for data of {shapes}: expected a tensor with one "
                f"logit for each datum, shape ({comparison.size},) or ({comparison.size}, 1). Let "
                "it end with a layer of one output, without a sigmoid"
            )
        flat: Tensor = logits.reshape(-1)
        if len(flat) != comparison.size:  # all data are one datum
            comparison.size, comparison.counted = 1, None
        return flat

    def gradient_penalty(self, comparison: Comparison, arguments: Mapping[str, Any]) -> Tensor:
        r"""Computes the gradient penalty of each datum.

        .. math:: (\lVert \nabla_{\hat x} \ell(\hat x) \rVert_2 - 1)^2, \qquad
            \hat x = \varepsilon x + (1 - \varepsilon) x', \quad \varepsilon \sim U(0, 1)

        with one :math:`\varepsilon` for all generated sites of a datum, whose gradients are one
        vector; covariates stay as they are.

        Returns:
            Penalties, shape as that of the logits.

        References:
            Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), *Improved training of
            Wasserstein GANs*, eq. 3.
        """
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            mixed = dict(comparison.generated)
            first = mixed[comparison.sites[0]]
            size = first.shape[0] if first.dim() else 1
            share = torch.rand(size, dtype=first.dtype, device=first.device)
            for site in comparison.sites:
                real, generated = comparison.real[site], comparison.generated[site]
                each = share.to(real.dtype).reshape(-1, *(1,) * max(0, real.dim() - 1))
                each = each if real.dim() else each.reshape(())
                mixed[site] = (each * real + (1 - each) * generated).detach().requires_grad_()
            logits = self(mixed, comparison, arguments)
            slopes = torch.autograd.grad(
                logits.sum(),
                [mixed[site] for site in comparison.sites],
                create_graph=differentiable,
                materialize_grads=True,
            )
        flat = [slope.reshape(len(logits), -1) for slope in slopes]
        penalty: Tensor = (torch.cat(flat, -1).norm(dim=-1) - 1).square()
        return penalty

    def couples(self, comparison: Comparison, arguments: Mapping[str, Any]) -> bool:
        """Tells whether the logit of a datum depends on the other data of its batch.

        The second half of x' is replaced by other data, real ones where they differ; the logits of
        the first half are then the same, or the discriminator reads across the batch, as through
        minibatch discrimination.
        """
        half = comparison.size // 2
        if half == 0 or comparison.single:
            return True  # nothing says that they are independent
        mixed = dict(comparison.generated)
        for site in comparison.sites:
            value, real = mixed[site], comparison.real[site]
            other = torch.where(real == value, value + 1, real)
            mixed[site] = torch.cat([value[:half], other[half:]])
        device = mixed[comparison.sites[0]].device
        with torch.no_grad():
            with forked_random(device):
                before = self(comparison.generated, comparison, arguments)[:half]
            with forked_random(device):
                after = self(mixed, comparison, arguments)[:half]
        return not torch.allclose(before, after, rtol=1e-4, atol=1e-6)

    def _further(self) -> dict[str, inspect.Parameter]:
        """The named parameters of ``forward`` after the first, which is the data."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = list(parameters_of(self.discriminator).items())[1:]
        return {name: parameter for name, parameter in parameters if parameter.kind in named}
