"""A one-hot category whose draws pass a gradient."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro import distributions as dist
from pyro.distributions.score_parts import ScoreParts
from torch import Size, Tensor

from pyro_mivae.checks import check_number

__all__ = ["GumbelOneHot"]


def _one_hot(x: Tensor) -> Tensor:
    """1 at the largest entry of the last dimension."""
    hard: Tensor = torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1.0)
    return hard


class _Hard(torch.autograd.Function):
    """The largest entry as a one-hot vector, with the gradient of the soft one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(soft: Tensor) -> Tensor:
        return _one_hot(soft)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class GumbelOneHot(dist.OneHotCategorical):  # type: ignore[misc]  # Pyro has no types
    r"""A one-hot categorical distribution with straight-through Gumbel-softmax gradients.

    .. math::

        c = \mathrm{onehot}\Big(\arg\max_k\, (\ell_k + g_k)\Big), \qquad
        \frac{\partial c}{\partial \ell} :=
            \frac{\partial}{\partial \ell}\, \mathrm{softmax}\big((\ell + g) / τ\big)

    with Gumbel noise g. Draws, log-probability, KL and enumeration are those of
    ``OneHotCategorical``: only the gradient of a draw is an approximation, biased, with a lower
    variance at a larger τ. Unlike torch's, a draw does not wait for the device.

    Args:
        logits: Unnormalised log-probabilities, (..., K).
        temperature: τ > 0.

    References:
        Jang, Gu and Poole (2017), *Categorical reparameterization with Gumbel-softmax*, sec. 2.2.
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, Any]] = dist.OneHotCategorical.arg_constraints

    def __init__(
        self, logits: Tensor, *, temperature: float = 1.0, validate_args: bool | None = None
    ) -> None:
        check_number("temperature", temperature, above=0)
        self.temperature = temperature
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        if _instance is None and Size(batch_shape) == self.batch_shape:
            return self
        new = self._get_checked_instance(GumbelOneHot, _instance)
        new.temperature = self.temperature
        return super().expand(batch_shape, _instance=new)

    def _gumbel(self, sample_shape: Size | tuple[int, ...]) -> Tensor:
        logits = self.logits.expand(self._extended_shape(sample_shape))
        noisy: Tensor = logits - torch.empty_like(logits).exponential_().log()
        return noisy

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws one-hot vectors of shape ``sample_shape + batch_shape + (K,)``."""
        draw: Tensor = _Hard.apply((self._gumbel(sample_shape) / self.temperature).softmax(-1))
        return draw

    @torch.no_grad()
    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws the same vectors without gradient."""
        return _one_hot(self._gumbel(sample_shape))

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        """Tells Pyro's ELBOs to follow the path of a draw, and to use the score function elsewhere.

        An enumerated value is no draw: ``TraceEnum_ELBO`` weighs it by its score function.
        """
        log_prob = self.log_prob(x, *args, **kwargs)
        if x.requires_grad:
            return ScoreParts(log_prob=log_prob, score_function=0, entropy_term=log_prob)
        return ScoreParts(log_prob=log_prob, score_function=log_prob, entropy_term=0)
