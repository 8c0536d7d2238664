"""Models that read their data beside the sample statements: teacher forcing, and summaries."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pyro
import torch

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.isolation import aside
from pyro_mivae.traces.call import Args, Call, Kwargs
from pyro_mivae.traces.rerun import plate_indices, run_again
from pyro_mivae.traces.scoring import log_prob
from pyro_mivae.traces.sites import latent_sites, unmasked

logger = logging.getLogger(__name__)


def warn_of_own_data(forward: Forward, bound: tuple[Args, Kwargs], call: Call) -> None:
    """Looks whether x' was drawn given the real data, in whose place it is, and warns of it.

    A decoder that reads the word before from its argument, and not from the sample statement of
    that word, draws each word of x' after a real one. The density of x' is then another one once
    the arguments hold x'.

    Args:
        forward: The forward run.
        bound: The guide's arguments, with x' in place of the data.
        call: The pair and its arguments.
    """
    if not call.replaced_arguments(*bound):
        return  # the guide does not read x'
    values = {
        name: forward.trace.nodes[name]["value"]
        for name in latent_sites(forward.trace)
        if name not in forward.generated
    }
    values |= plate_indices(forward.trace)
    device = next(iter(forward.generated.values())).device

    def run(args: Args, kwargs: Kwargs) -> Any:
        with aside([call.model], device):  # the same noise in both runs
            return run_again(call.model, args, kwargs, values, forward.generated)

    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            traces = run(call.args, dict(call.kwargs)), run(*bound)
            names = [name for name in forward.generated if _differ(name, *traces)]
    except Exception as error:  # foreign code, arguments of the guide alone, tensors without values
        logger.debug("could not look whether the model reads its own data: %s", error)
        return
    if names:
        warnings.warn(
            f"x' of the sites {names} is drawn given the real data, whose place it takes: the "
            "model reads them beside these sites. That is no draw of the model, and the "
            "information term is not that of its data. A model that goes on from its own data "
            "(teacher forcing) has to take them from its sample statements, one by one: "
            "word = pyro.sample(f'word_{t}', ..., obs=...). A summary that is given (a size, say) "
            "belongs into an argument of its own",
            stacklevel=2,
        )


def _differ(name: str, one: Any, other: Any) -> bool:
    """Whether the density of x' is another one in another run."""
    if name not in one or name not in other:
        return False
    value = one.nodes[name]["value"]
    first, second = (
        log_prob(unmasked(trace.nodes[name]["fn"]), value, name) for trace in (one, other)
    )
    return not torch.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True)
