"""Log-probabilities of values under distributions: the one place where they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import transforms


def log_prob(fn: Any, value: Tensor, site: str, *args: Any, **kwargs: Any) -> Tensor:
    """Scores a value under the distribution of a site, neither scaled nor masked by handlers.

    Args:
        fn: The distribution.
        value: The value, drawn by it or by another.
        site: Name of the site, for the message.
        args: Further arguments of the site.
        kwargs: Further keyword arguments of the site.

    Returns:
        Nats, of the distribution's batch shape.

    Raises:
        ValueError: If the distribution did not draw the value, and scoring it takes the inverse of
            a transform that has none, or, with Pyro's validation, the value is outside of its
            support.
    """
    forget_derived(fn)
    try:
        result: Tensor = fn.log_prob(value, *args, **kwargs)
    except (KeyError, NotImplementedError) as error:
        transform = _without_inverse(fn, value)
        if transform is None:
            raise
        name = type(transform).__name__
        raise ValueError(
            f"the density of site '{site}' is needed at a value that its own distribution did not "
            f"draw, which takes the inverse of its transform {name}, and {name} has none. Use a "
            "flow with an inverse (pyro.distributions.transforms.affine_coupling, spline_coupling, "
            "affine_autoregressive), or, to train without the information term, mi_weight=0"
        ) from error
    except ValueError as error:
        if "within the support" not in str(error):
            raise
        raise ValueError(
            f"a value of site '{site}' lies outside of the support of the distribution that scores "
            "it, which has no density there. At a code the guide is narrower than the prior that "
            f"drew the value: use a guide of the prior's support. {error}"
        ) from error
    return result


def site_density(site: Mapping[str, Any]) -> Tensor:
    """Scores the value of a site of a trace, neither scaled nor masked by handlers."""
    return log_prob(site["fn"], site["value"], site["name"], *site["args"], **site["kwargs"])


def forget_derived(fn: Any) -> None:
    """Removes the parameter that a zero-inflated distribution has derived from the other.

    A draw derives the gate from its logits. With both at hand Pyro scores by the gate, which is
    exactly 1 where the logits are large, and can't be expanded.
    """
    for part in layers(fn):
        if isinstance(part, dist.ZeroInflatedDistribution):
            present = [name for name in vars(part) if name in ("gate", "gate_logits")]
            for name in present[1:]:  # the parameter that was given came first
                delattr(part, name)


def layers(fn: Any) -> Iterator[Any]:
    """A distribution and the distributions inside of it."""
    yield fn
    for name in ("base_dist", "_component_distribution", "component0", "component1"):
        inner = vars(fn).get(name) if hasattr(fn, "__dict__") else None
        if isinstance(inner, torch.distributions.Distribution):
            yield from layers(inner)


def flat_transforms(chain: Any) -> list[Any]:
    """The transforms of a chain, one after another, without those that only hold others."""
    flat: list[Any] = []
    for transform in chain:
        inner = transform.inv if isinstance(transform, transforms._InverseTransform) else None
        if isinstance(transform, transforms.ComposeTransform):
            flat += flat_transforms(transform.parts)
        elif isinstance(transform, transforms.IndependentTransform):
            flat += flat_transforms([transform.base_transform])
        elif isinstance(inner, transforms.IndependentTransform):
            flat += flat_transforms([inner.base_transform.inv])
        elif isinstance(inner, transforms.ComposeTransform):
            flat += flat_transforms([part.inv for part in reversed(inner.parts)])
        else:
            flat.append(transform)
    return flat


def _without_inverse(fn: Any, value: Tensor) -> Any:
    """The transform whose inverse could not be taken, the outermost; None if there is none."""
    for part in layers(fn):
        if not isinstance(part, torch.distributions.TransformedDistribution):
            continue
        for transform in reversed(flat_transforms(part.transforms)):
            try:
                value = transform.inv(value)
            except (KeyError, NotImplementedError):
                return transform
            except Exception:  # another fault, which the first error is about
                return None
    return None
