"""How varied the data are that a model generates, and how evenly the guide's classes are used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pyro.distributions import Categorical, OneHotCategorical
from torch import Tensor

from pyro_mivae.infer.adversarial.comparison import Comparison, compare
from pyro_mivae.infer.adversarial.gan import TraceMI_GAN
from pyro_mivae.isolation import device_of, undisturbed
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import unwrap


@dataclass
class Variety:
    """What a batch says about the variety of generated data.

    Attributes:
        size: Number of data in the batch.
        spread: The root of the mean variance of x' over the batch, divided by that of the real
            data; None where the real ones do not vary.
        classes: By categorical code, the probability of each class that the guide reads off the
            real data, summed over the batch, and likewise that of the prior; shape (2, classes).
    """

    size: int
    spread: float | None
    classes: dict[str, Tensor]


def measure_variety(gan: TraceMI_GAN, call: Call) -> Variety:
    """Measures the variety of generated data by a run of the model and one of the guide.

    The run leaves no trace: random state and buffers are afterwards as they were.

    Args:
        gan: The objective.
        call: Model and guide with the arguments of a batch.
    """
    parts = (call.model, call.guide, gan.discriminator)
    device = device_of(parts, call.args)
    with torch.no_grad(), undisturbed(parts, device):
        forward, codes = gan._rules.dual.generate(call)
        comparison = compare(forward, gan.observed)
        guide_trace = call.trace_guide()
    classes = {}
    for site in codes:
        if site in guide_trace.nodes:
            pair = [trace.nodes[site]["fn"] for trace in (guide_trace, forward.trace)]
            sums = [_summed_probabilities(fn, comparison.size) for fn in pair]
            if sums[0] is not None and sums[1] is not None:
                classes[site] = torch.stack([sums[0], sums[1]]).double().cpu()
    return Variety(comparison.size, _spread(comparison), classes)


def _spread(comparison: Comparison) -> float | None:
    if comparison.size < 2:
        return None
    sums = []
    for values in (comparison.generated, comparison.real):
        flat = [values[site].reshape(comparison.size, -1).double() for site in comparison.sites]
        sums.append(float(torch.cat(flat, -1).var(0).mean()))
    return (sums[0] / sums[1]) ** 0.5 if sums[1] > 0 else None


def _summed_probabilities(fn: object, size: int) -> Tensor | None:
    """The probabilities of the classes of one categorical variable, summed over `size` data."""
    base = unwrap(fn)
    if not isinstance(base, Categorical | OneHotCategorical):
        return None
    probs: Tensor = base.probs
    return probs.reshape(-1, probs.shape[-1]).mean(0) * size
