r"""The losses of the two players, by name, as functions of the discriminator's logits.

With logits :math:`\ell` and :math:`D = \sigma(\ell)`, each datum's part is

==================== ========================== ============================== ===================
name                 of a real datum            of a generated one             of the generator
==================== ========================== ============================== ===================
``non-saturating``   :math:`-\log D(x)`         :math:`-\log(1 - D(x'))`       :math:`-\log D(x')`
``hinge``            :math:`\max(0, 1 - \ell)`  :math:`\max(0, 1 + \ell)`      :math:`-\ell`
``wasserstein``      :math:`-\ell`              :math:`\ell`                   :math:`-\ell`
==================== ========================== ============================== ===================
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor
from torch.nn import functional as F

Adversary = Literal["non-saturating", "hinge", "wasserstein"]
"""The three losses."""

ADVERSARIES: tuple[Adversary, ...] = get_args(Adversary)


def check_adversary(adversary: Any) -> Adversary:
    """Returns the name of a loss if it is one.

    Raises:
        ValueError: If it is another word.
    """
    if adversary not in ADVERSARIES:
        raise ValueError(
            f"unknown adversary {adversary!r}: expected one of {', '.join(ADVERSARIES)}"
        )
    checked: Adversary = adversary
    return checked


def real_loss(adversary: Adversary, logits: Tensor) -> Tensor:
    """Computes the discriminator's loss of real data; the shape of `logits`."""
    if adversary == "non-saturating":
        return F.softplus(-logits)
    return F.relu(1 - logits) if adversary == "hinge" else -logits


def generated_loss(adversary: Adversary, logits: Tensor) -> Tensor:
    """Computes the discriminator's loss of generated data; the shape of `logits`."""
    if adversary == "non-saturating":
        return F.softplus(logits)
    return F.relu(1 + logits) if adversary == "hinge" else logits


def generator_loss(adversary: Adversary, logits: Tensor) -> Tensor:
    """Computes the generator's loss of its data; the shape of `logits`."""
    return F.softplus(-logits) if adversary == "non-saturating" else -logits
