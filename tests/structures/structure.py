"""A structure of Pyro's documentation: its pair, its settings, and what is known of it."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.poutine.util import site_is_subsample
from torch import nn

ALL = ("mean", "sample", "straight-through", "sleep")
DRAWN = ("sample", "straight-through", "sleep")
NO_MEAN = dict.fromkeys(("mean", "straight-through"), "no useful mean")
BASES = {
    "TraceMeanField": TraceMeanField_ELBO,
    "Trace": Trace_ELBO,
    "TraceEnum": lambda: TraceEnum_ELBO(max_plate_nesting=2),
    "TraceGraph": TraceGraph_ELBO,
}


@dataclass
class Pair:
    """A model and a guide with the arguments of both.

    Attributes:
        cells: The number of data in a call; 1 where all of a call is one datum.
        known: What the pair knows of itself, for the exact information.
    """

    model: Any
    guide: Any
    args: tuple
    cells: int
    known: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """The settings of a structure, and what the library should give for them.

    Attributes:
        build: Makes the pair, of a number of data.
        place: ``(generated, args) -> args``: where x' goes, written by hand.
        generated: Beginnings of the names of the sites that are data.
        codes: As in ``TraceMI_ELBO``; likewise `observed` and `base`, a key of ``BASES``.
        data_args: None, or ``"callable"``, which is `place`.
        refused: What the error says, for each channel that can't be.
        exact: The information in nats per datum and its standard error, of a pair.
        attained: Whether the guide is the exact posterior.
        sandwich: What the error says where ``sandwich`` can't be.
        fallback: What the reason says where the pair can't be compiled.
        decoder: A part of the names of the model's parameters; none of them learns by "sleep".
        silent: A part of the names of the parameters without a gradient.
        size: Data in a call whose values are compared.
        repeats: Calls whose values are averaged.
    """

    name: str
    build: Callable[[int], Pair]
    place: Callable[[dict, tuple], tuple]
    generated: tuple[str, ...]
    codes: Any = None
    observed: tuple[str, ...] = ()
    data_args: Any = None
    base: str = "TraceMeanField"
    channels: tuple[str, ...] = ALL
    refused: dict = field(default_factory=dict)
    exact: Callable[[Pair], tuple[float, float]] | None = None
    attained: bool = False
    sandwich: str | None = None
    fallback: str | None = None
    decoder: str | None = "decoder"
    silent: str | None = None
    size: int = 200
    repeats: int = 6

    def options(self):
        """Keyword arguments that all entry points share."""
        data_args = self.data_args
        if data_args == "callable":
            data_args = lambda generated, args, kwargs: (self.place(generated, args), kwargs)  # noqa: E731
        return {"codes": self.codes, "observed": self.observed, "data_args": data_args}

    def sites_of(self, trace):
        """The sites of a trace that are data."""
        return [site for name, site in trace.nodes.items() if name.startswith(self.generated)]

    def written(self):
        """The settings as the table of the documentation writes them."""
        codes = "all" if self.codes is None else f"`{self.codes!r}`"
        data_args = "a callable" if self.data_args else "-"
        observed = ", ".join(f"`{name!r}`" for name in self.observed) or "-"
        channels = "all" if self.channels == ALL else ", ".join(f"`{c}`" for c in self.channels)
        row = (self.name, data_args, codes, observed, self.base, channels)
        return [cell.replace("'", '"') for cell in row]


class Recorder:
    """Keeps the traces of a program, whoever calls it."""

    def __init__(self, program):
        self.program, self.traces, self.arguments = program, [], []
        if not isinstance(program, nn.Module):
            functools.update_wrapper(self, program)

    def __call__(self, *args, **kwargs):
        trace = poutine.trace(self.program).get_trace(*args, **kwargs)
        self.traces.append(trace)
        return trace.nodes["_RETURN"]["value"]


def latent(trace):
    """Names of the latent sites."""
    return [
        name
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
    ]


def by_hand(structure, pair, model_trace, guide_trace):
    """log q(c|x') - log p(c), by Pyro alone, at the draws of the library's dual pass.

    The guide runs again, on what `place` makes of the x' of the model's trace.
    """
    values = {name: site["value"] for name, site in model_trace.nodes.items() if "value" in site}
    names = tuple(structure.generated)
    shown = {n: v for n, v in values.items() if n.startswith(names)}
    indices = {n: values[n] for n, s in model_trace.nodes.items() if site_is_subsample(s)}
    args = structure.place(shown | indices, pair.args)
    codes = [structure.codes] if isinstance(structure.codes, str) else structure.codes
    codes = codes or [n for n in latent(guide_trace) if n in model_trace]
    again = poutine.trace(poutine.replay(pair.guide, trace=guide_trace)).get_trace(*args)
    total = 0.0
    for name in codes:
        assert torch.equal(again.nodes[name]["value"], values[name])
        for sign, trace in ((1, again), (-1, model_trace)):
            site = trace.nodes[name]
            log_prob = site["fn"].log_prob(values[name])
            total += sign * scale_and_mask(log_prob, site["scale"], site["mask"]).sum().item()
    return total


def mean_and_error(values):
    """Mean and standard error."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


class Net(nn.Module):
    """A layer of tanh, and several linear heads."""

    def __init__(self, inputs, *outputs, hidden=6, gain=1.0):
        super().__init__()
        self.layer = nn.Linear(inputs, hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in outputs)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(gain)

    def forward(self, x):
        hidden = torch.tanh(self.layer(x))
        results = tuple(head(hidden) for head in self.heads)
        return results[0] if len(results) == 1 else results


def hermite(dim, count=14):
    """Nodes and weights of expectations under a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.array(list(itertools.product(nodes, repeat=dim)))
    product = np.array(list(itertools.product(weights / weights.sum(), repeat=dim))).prod(-1)
    return torch.as_tensor(grid), torch.as_tensor(product)


def strings(symbols, length):
    """All strings of a number of symbols."""
    return torch.tensor(list(itertools.product(range(symbols), repeat=length)))


def information_of_table(log_lik, weights):
    """I of a discrete x: log p(x|node), shape (nodes, x), under the nodes' weights."""
    joint = log_lik.exp() * weights[:, None]
    return (joint * (log_lik - joint.sum(0).log())).sum()


def bernoulli_table(logits):
    """log p(x|node) of all x in bits, shape (nodes, x)."""
    x = strings(2, logits.shape[-1]).to(logits)
    return logits @ x.T - nn.functional.softplus(logits).sum(-1, keepdim=True)
