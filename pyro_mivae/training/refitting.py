"""Fitting a copy of a guide to what its model generates."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import TraceGraph_ELBO
from pyro.params.param_store import StateDict
from torch import Tensor, nn

from pyro_mivae.batches import Data, Prepare, arguments, as_tensors
from pyro_mivae.checks import check_count, check_seed
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.compiled.capture import leaves_of
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.guide_checks import without_rsample
from pyro_mivae.isolation import modules_of, undisturbed
from pyro_mivae.progress import titled
from pyro_mivae.training.copies import copy_programs
from pyro_mivae.training.discovery import make_local
from pyro_mivae.training.fitting import fit


def refit_guide(
    model: Any,
    guide: Any,
    data: Data,
    *,
    steps: int,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
    prepare: Prepare | None = None,
    seed: int = 0,
    mi_weight: float = 1000.0,
    **settings: Any,
) -> Any:
    """Fits a copy of a guide to what the model generates, the sleep phase (Hinton et al. 1995).

    The bounds of :func:`pyro_mivae.information.sandwich` close sooner with a guide that is good
    on generated data. The model stays as it is, and so does the guide that was given: both are
    copied with all modules that they reach, and Pyro's store, too. Parameters that the model uses,
    those that it shares with the guide included, are not trained. The ELBO of the data stays in the
    loss; `mi_weight` makes it a thousandth of the bound on the information. It is that of
    ``TraceMeanField_ELBO``, or of ``TraceGraph_ELBO`` where the guide draws discrete latents.

    Args:
        model: A Pyro model: a module, a function or a method.
        guide: Its guide, likewise.
        data: Data that model and guide are called with, as in :func:`fit`.
        steps: Training steps.
        observed: Observed sites that keep their data value (covariates), as in
            :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        data_args: Where the guide expects what is generated, likewise.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the batches and of all random draws.
        mi_weight: Weight of the bound, lambda.
        **settings: Further arguments of :func:`fit`, without its `elbo`.

    Returns:
        The copy of the guide. That of a guide with parameters in Pyro's store is a function that
        runs with a store of its own.

    Raises:
        ValueError: If the guide has no parameters that the model does not use, or reads some in a
            way that can't be copied.
    """
    tensors = as_tensors(data)
    check_count("steps", steps)
    check_seed("seed", seed)
    settings.setdefault("device", tensors[0].device.type)
    size = settings.get("batch_size", 100)
    args = arguments([tensor[:size] for tensor in tensors], prepare)
    store = pyro.get_param_store()
    originals = {id(p) for p in [*_parameters((model, guide)), *store._params.values()]}
    state = _copied_store({id(p) for p in _parameters((model, guide))})
    pair = copy_programs((model, guide))
    with warnings.catch_warnings(), store.scope(state) as state:
        # The model's: frozen, and pyro.module() says so at each call.
        warnings.filterwarnings("ignore", message=".*not registered in the param store because")
        trained, reparameterised = _trained(pair, args, tensors[0].device, seed)
        if any(id(parameter) in originals for parameter in trained):
            raise ValueError(
                "refit_guide trains a copy of the guide, but the guide reads parameters in a way "
                "that can't be copied, as a global variable of a method: keep the module as an "
                "attribute, or wrap the guide as a PyroModule"
            )
        if not trained:
            raise ValueError("the guide has no parameters to train that the model does not use")
        every = [*_parameters(pair), *store._params.values()]
        flags = [parameter.requires_grad for parameter in every]
        chosen = {id(parameter) for parameter in trained}
        for parameter in every:
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in chosen)
        copies: tuple[Any, Any] = pair[0], pair[1]
        elbo = TraceMI_ELBO(
            channel="sleep",
            mi_weight=mi_weight,
            observed=observed,
            data_args=data_args,
            elbo=None if reparameterised else TraceGraph_ELBO(),
        )
        with titled("refitting the guide"):
            fit(*copies, elbo, data, steps=steps, prepare=prepare, seed=seed, **settings)
        for parameter, flag in zip(every, flags, strict=True):
            parameter.requires_grad_(flag)
        own = {id(parameter) for parameter in _parameters(pair)}
        stored = any(id(parameter) not in own for parameter in store._params.values())
    return _with_store(pair[1], state) if stored else pair[1]


def _parameters(programs: tuple[Any, ...]) -> list[Tensor]:
    return [p for module in modules_of(programs) for p in module.parameters(recurse=False)]


def _copied_store(own: set[int]) -> StateDict:
    """A copy of Pyro's store without the parameters of modules, which are copied with these."""
    state = pyro.get_param_store().get_state()
    names = [name for name, parameter in state["params"].items() if id(parameter) not in own]
    copies = {}
    for name in names:
        parameter = state["params"][name]
        copies[name] = parameter.detach().clone().requires_grad_(parameter.requires_grad)
    return {"params": copies, "constraints": {name: state["constraints"][name] for name in names}}


def _trained(
    pair: tuple[Any, ...], args: tuple[Any, ...], device: torch.device, seed: int
) -> tuple[list[Tensor], bool]:
    """The guide's parameters without those of the model, and if its sites are reparameterised."""
    model, guide = pair
    for module in modules_of(pair):
        make_local(module)
    local = pyro.settings.context(module_local_params=True)
    with local, undisturbed(pair, device), torch.enable_grad():
        torch.manual_seed(seed)
        guide_trace = poutine.trace(guide).get_trace(*args)
        of_guide = _leaves(guide_trace)
        reparameterised = not without_rsample(guide_trace)
        guide_trace.detach_()
        replayed = poutine.trace(poutine.replay(model, trace=guide_trace))
        of_model = _leaves(replayed.get_trace(*args))
    if isinstance(guide, nn.Module):
        of_guide = [*guide.parameters(), *of_guide]
    if isinstance(model, nn.Module):
        of_model = [*model.parameters(), *of_model]
    kept = {id(parameter) for parameter in of_model}
    trained = [p for p in of_guide if id(p) not in kept and p.requires_grad]
    return trained, reparameterised


def _leaves(trace: poutine.Trace) -> list[Tensor]:
    """The parameters that the draws and densities of a trace depend on."""
    total: Any = trace.log_prob_sum()
    for node in trace.nodes.values():
        value = node["value"] if node["type"] == "sample" else None
        if isinstance(value, Tensor) and value.requires_grad:
            total = total + value.sum()
    return leaves_of(total) if isinstance(total, Tensor) else []


def _with_store(guide: Any, state: StateDict) -> Any:
    """A guide that runs with parameters of its own, whatever is in Pyro's store."""

    @functools.wraps(guide)
    def refitted(*args: Any, **kwargs: Any) -> Any:
        with pyro.get_param_store().scope(state):
            return guide(*args, **kwargs)

    return refitted
