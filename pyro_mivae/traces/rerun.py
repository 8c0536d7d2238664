"""Running models and guides again with sites at given values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mivae.traces.sites import latent_sites, spread


class _Fix(Messenger):  # type: ignore[misc]
    """Gives sites their values: those that are drawn, and data in place of the observed.

    An observed site keeps its value, whatever is given under its name, unless it is data.
    """

    def __init__(self, values: Mapping[str, Tensor], data: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.data = data

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        source = self.data if msg["is_observed"] else self.values
        if msg["name"] in source and not msg["done"]:
            value = source[msg["name"]]
            if not msg["is_observed"] and not site_is_subsample(msg):
                value = spread(value, msg["fn"])
            msg["value"], msg["done"] = value, True


def run_again(
    fn: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    values: Mapping[str, Tensor],
    data: Mapping[str, Tensor] | None = None,
) -> Any:
    """Runs a model or guide with given values; what has none is drawn.

    Args:
        fn: The model or guide.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        values: Values of latent sites, and the plates' indices.
        data: Values of observed sites, in place of what is observed there.

    Returns:
        The trace.
    """
    return poutine.trace(_Fix(values, data or {})(fn)).get_trace(*args, **kwargs)


def plate_indices(trace: Any) -> dict[str, Tensor]:
    """Returns the plates' indices of a run."""
    return {n: s["value"] for n, s in trace.nodes.items() if site_is_subsample(s)}


def latent_values(trace: Any) -> dict[str, Tensor]:
    """Returns the values of the latent sites of a run."""
    return {name: trace.nodes[name]["value"] for name in latent_sites(trace)}
