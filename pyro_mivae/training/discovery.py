"""The modules and parameters of a model and its guide, wherever they keep them, by one run."""

from __future__ import annotations

import gc
import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from lightning_fabric import Fabric
from pyro import poutine
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_mivae.batches import BatchSource
from pyro_mivae.isolation import modules_of, outermost, owner_of, roots_of, undisturbed, watching
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.drawing import naming_draws
from pyro_mivae.training import parallel
from pyro_mivae.training.objective import Objective

logger = logging.getLogger(__name__)


def find_parameters(
    fabric: Fabric, objective: Objective, batches: BatchSource
) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Finds what a training updates, by a run of the pair, and looks whether it can.

    Args:
        fabric: Device and processes of the training.
        objective: Model, guide and what is computed of them.
        batches: The data; the first batch is run.

    Returns:
        The parameters of each player, and those that live in Pyro's store alone, by name.

    Raises:
        NonFiniteError: If a draw has parameters that are not finite.
        ValueError: If there is nothing to train, or data and processes do not fit.
    """
    with naming_draws("step 1"):
        trained, stored = discover(objective, batches, fabric.device)
    parallel.check(fabric, batches.batch_size, stored)
    check_small_batches(objective, batches, fabric.device)
    owners = objective.game.owners(batches.at(0), [*trained, *stored.values()])
    for name, parameters in owners.items():
        if not any(parameter.requires_grad for parameter in parameters):
            of = "model and guide have" if len(owners) == 1 else f"the {name} has"
            raise ValueError(f"{of} no parameters to train")
    return owners, stored


def discover(
    objective: Objective, batches: BatchSource, device: torch.device
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Runs a pair once on the first batch, to see what it uses besides the modules that it is.

    Modules that a plain function, a bound method or an object calls are moved to the device when
    the run comes to them, and put into :attr:`Objective.behind`. Buffers and random states are
    afterwards as they were; what the run has put into Pyro's store stays there.

    Args:
        objective: Model, guide and what is computed of them.
        batches: The data; the first batch is run.
        device: Device of the training.

    Returns:
        The parameters of modules that are to be trained, and those that live in Pyro's store
        alone, by name.
    """
    parts = objective.programs
    owners = [owner for owner in map(owner_of, parts) if owner is not None]
    objective.hold(outermost(owners))
    objective.to(device)
    for module in [*objective.modules(), *modules_of(parts)]:
        make_local(module)
    called: dict[int, weakref.ref[nn.Module]] = {}

    def look(module: nn.Module) -> None:
        reference = called.get(id(module))
        if reference is not None and reference() is module:
            return
        called[id(module)] = weakref.ref(module)
        module.to(device)
        for part in module.modules():
            make_local(part)

    batch = batches.at(0)
    trace, reports = poutine.trace(param_only=True), _Reports(device)
    with _new_objects_alone():
        with undisturbed(parts, device), torch.no_grad(), watching(look), trace, reports:
            call = Call(objective.model, objective.guide, batch.args, batch.kwargs)
            objective.game.look(call, batch.count, batches.few)
        sites = dict(trace.trace.nodes)
        del trace
        if any(reference() is not None for reference in called.values()):
            gc.collect()  # modules that the run has made for itself
    objective.known = set(pyro.get_param_store())
    seen = [module for module in (reference() for reference in called.values()) if module]
    reported = {id(start) for start in reports.starts.values()}
    objective.hold(_roots(objective, parts, seen, reported))
    objective.to(device)
    stored = _stored(objective, sites, reports.starts)
    return _trained(objective, owners, seen, reported, stored), stored


@contextmanager
def _new_objects_alone() -> Iterator[None]:
    """Keeps a garbage collection inside from walking all that was there before."""
    if gc.get_freeze_count():  # the caller's own
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def make_local(module: nn.Module) -> None:
    """Lets a PyroModule that was made under Pyro's default settings run with local parameters."""
    if isinstance(module, PyroModule) and not hasattr(module._pyro_context, "param_state"):
        module._pyro_context.param_state = {"params": {}, "constraints": {}}


class _Reports(Messenger):  # type: ignore[misc]
    """Notes the tensors that parameters start from, and moves what an earlier run has stored.

    What ``pyro.module`` reports starts from the module's parameter itself, also where another
    module's is stored under the name.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.starts: dict[str, Tensor] = {}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        name, *rest = msg["args"]
        if rest and isinstance(rest[0], Tensor):
            self.starts.setdefault(name, rest[0])
        stored = pyro.get_param_store()._params.get(name)
        if isinstance(stored, Tensor) and stored.device.type != self.device.type:
            stored.data = stored.data.to(self.device)


def _roots(
    objective: Objective, parts: tuple[Any, ...], seen: list[nn.Module], reported: set[int]
) -> list[nn.Module]:
    """The outermost modules that the run has called or reported, without those that are held."""
    reachable = roots_of(parts)
    holder = {id(part): root for root in reachable for part in root.modules()}
    used = [holder.get(id(module), module) for module in seen]
    used += [root for root in reachable if any(id(p) in reported for p in root.parameters())]
    held = {id(module) for module in objective.modules()}
    return [root for root in outermost(used) if id(root) not in held]


def _stored(
    objective: Objective, sites: dict[str, Any], starts: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Parameters that are not the modules' own."""
    own = {id(parameter) for parameter in objective.parameters()}
    stored = {}
    for name, site in sites.items():
        value = site["value"]
        # What a PyroModule reports while the store is local is the parameter itself.
        parameter = value.unconstrained() if hasattr(value, "unconstrained") else value
        if id(parameter) not in own and id(starts.get(name)) not in own:
            stored[name] = parameter
    return stored


def _trained(
    objective: Objective,
    owners: list[nn.Module],
    seen: list[nn.Module],
    reported: set[int],
    stored: dict[str, Tensor],
) -> list[Tensor]:
    """The parameters of modules to train.

    A module that is a model, a guide or a discriminator is trained as a whole. Of the others, as
    under Pyro's SVI, what ``pyro.module`` reports is trained; the owner of bound methods, of which
    nothing is reported, is trained as a whole, too.
    """
    programs = [p for p in objective.programs if isinstance(p, nn.Module)]
    kept = {id(p) for program in programs for p in program.parameters()}
    for owner in owners:
        own = {id(parameter) for parameter in owner.parameters()}
        kept |= own & reported or own
    kept |= reported
    trained: list[Tensor] = [p for p in objective.parameters() if id(p) in kept]
    left = [
        f"{type(module).__name__} ({', '.join(names)})"
        for module in outermost(seen)
        if (names := [n for n, p in module.named_parameters() if _is_left(p, kept)])
    ]
    if left and (trained or stored):
        warnings.warn(
            "model or guide call modules whose parameters are not trained, because no "
            f"pyro.module() registers them: {'; '.join(left)}. Call pyro.module(name, module) in "
            "the model or the guide, or requires_grad_(False) where that is meant",
            stacklevel=3,
        )
    elif left:
        raise ValueError(
            "model and guide have no parameters to train: they call modules that no pyro.module() "
            f"registers, {'; '.join(left)}. Call pyro.module(name, module) in the model or the "
            "guide"
        )
    return trained


def _is_left(parameter: Tensor, kept: set[int]) -> bool:
    return parameter.requires_grad and id(parameter) not in kept


def check_small_batches(objective: Objective, batches: BatchSource, device: torch.device) -> None:
    """Refuses an epoch with a batch that batch normalisation can't take, before the training.

    Raises:
        ValueError: If the smallest batch is of one datum, and one datum can't be normalised.
    """
    if batches.smallest() > 1 or not any(_normalises(module) for module in objective.modules()):
        return
    batch = batches.few(1)
    try:
        with undisturbed((objective,), device), torch.no_grad():
            call = Call(objective.model, objective.guide, batch.args, batch.kwargs)
            objective.game.look(call, batch.count, batches.few)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"with {batches.length} data and batch_size={batches.batch_size} a batch of one datum "
            "comes up in each epoch, which batch normalisation in training mode can't take "
            f"({str(error).splitlines()[0]}): use drop_last=True, or another batch_size"
        ) from error


def _normalises(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
