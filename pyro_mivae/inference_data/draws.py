"""Draws of any model and guide as ArviZ's groups."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from pyro_mivae.checks import check_draws
from pyro_mivae.infer.dual.channel import generate
from pyro_mivae.isolation import evaluation
from pyro_mivae.runs.groups import (
    DRAWS,
    NATS,
    make_group,
    make_tree,
)
from pyro_mivae.traces.sites import latent_sites

Named = tuple[tuple[str, ...], Tensor]
"""Names of dimensions, and a tensor that has them."""


def from_pair(
    model: Any, guide: Any, *args: Any, num_draws: int = 100, seed: int = 0, **kwargs: Any
) -> xr.DataTree:
    """Draws from prior and posterior of any model and guide, with what they predict.

    Gives the groups prior, prior_predictive, posterior, posterior_predictive, observed_data,
    log_likelihood (as an ELBO counts it: scaled and masked) and sample_stats (``lp`` of the whole
    model and ``log_q`` of the guide). A dimension is named by its plate, or
    ``<site>_dim_<number>``. Modules run in evaluation mode, the random state is forked.

    Args:
        model: A Pyro model.
        guide: Its guide, with a site for every latent of the model.
        args: Arguments of both.
        num_draws: Number of draws from each, a run of model and guide for each draw.
        seed: Seed of the draws.
        kwargs: Keyword arguments of both.

    Raises:
        ValueError: If the guide lacks a site, or a plate takes a subsample of its data.
    """
    num_draws = check_draws("num_draws", num_draws)
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    device = tensors[0].device if tensors else torch.device("cpu")
    drawn: dict[str, dict[str, list[Named]]] = defaultdict(lambda: defaultdict(list))
    with evaluation(model, guide, device=device, seed=seed):
        for _ in range(num_draws):
            guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
            replayed = poutine.replay(model, trace=guide_trace)
            model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
            model_trace.compute_log_prob()
            latents = latent_sites(model_trace)
            if missing := [name for name in latents if name not in guide_trace]:
                raise ValueError(
                    f"the guide has no site for the model's latents {missing}: expected one for "
                    "each. Add them to the guide, or sum them out of the model"
                )
            prior = generate(model, args, kwargs, channel="sample", keep=False)
            posterior = generate(replayed, args, kwargs, channel="sample", keep=False)
            for group, run in (("prior", prior), ("posterior", posterior)):
                for name in latents:
                    site = run.trace.nodes[name]
                    drawn[group][name].append(_named(site, site["value"]))
                for name, value in run.generated.items():
                    site = run.trace.nodes[name]
                    drawn[f"{group}_predictive"][name].append(_named(site, value))
            for name in posterior.generated:
                site = model_trace.nodes[name]
                drawn["log_likelihood"][name].append(_named(site, site["log_prob"], event=False))
            for name, trace in (("lp", model_trace), ("log_q", guide_trace)):
                drawn["sample_stats"][name].append(((), torch.as_tensor(trace.log_prob_sum())))
        observed = {n: _named(model_trace.nodes[n], x) for n, x in posterior.originals.items()}
    groups = {
        group: make_group(
            {
                name: (
                    (*DRAWS, *draws[0][0]),
                    torch.stack([value for _, value in draws])[None],
                    NATS if group in ("log_likelihood", "sample_stats") else {},
                )
                for name, draws in sites.items()
            }
        )
        for group, sites in drawn.items()
    }
    return make_tree({**groups, "observed_data": make_group(observed)}, {})


def _named(site: dict[str, Any], value: Tensor, event: bool = True) -> Named:
    """The value of a site in full size, without the dimensions that Pyro only pads."""
    batch, events = site["fn"].batch_shape, site["fn"].event_shape if event else ()
    plates = {}
    for frame in site["cond_indep_stack"]:
        if frame.full_size is not None and frame.size < frame.full_size:
            raise ValueError(
                f"plate '{frame.name}' takes {frame.size} of its {frame.full_size} data at a time, "
                "so that draws would belong to different data: expected all. Leave out "
                "subsample_size, or pass the model fewer data"
            )
        if frame.vectorized:
            plates[frame.dim + len(batch)] = frame.name
    names: list[str] = []
    index: list[int | slice] = []
    for position, size in enumerate((*batch, *events)):
        padding = position < len(batch) and position not in plates and size == 1
        index.append(0 if padding else slice(None))
        if not padding:
            own = sum(name.startswith(f"{site['name']}_dim_") for name in names)
            names.append(plates.get(position, f"{site['name']}_dim_{own}"))
    return tuple(names), value.expand((*batch, *events))[tuple(index)]
