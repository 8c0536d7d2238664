"""Where the generated x' goes: finding the guide's data among its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.sources import require_no_copy, source_of
from pyro_mivae.infer.dual.views import (
    Frames,
    Writer,
    describe,
    fit,
    full_shape,
    in_type_of,
    is_part,
    is_view,
    part_writer,
    plate_frames,
    scatter,
    whole_writer,
)
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.traces.call import Args, Call, Kwargs, named_arguments, parameters_of

Rebind = Callable[[dict[str, Tensor], Args, Kwargs], tuple[Args, Kwargs]]
DataArgs = Mapping[str, str | int | None] | Rebind
"""``{"site": "argument"}`` (a name, a position, or None where the guide does not
read the site), or ``(generated, args, kwargs) -> (args, kwargs)``."""


def argument_of(value: Tensor, fn: Any, args: Args, kwargs: Mapping[str, Any]) -> str | None:
    """Names the parameter of `fn` whose argument holds `value` or a view of it."""
    for name, argument in named_arguments(fn, args, kwargs).items():
        if any(is_view(value, leaf) for leaf in pytree.tree_leaves(argument)):
            return str(name)
    return None


class Binding:
    """The place where a guide expects the data, and where x' is put.

    In this order: `data_args`; the arguments that *are* the observed value or a
    view of it; the one argument that the model took the observed value from, at plates'
    indices or in another number type; the keyword ``observations`` (the convention of
    :class:`pyro.infer.CSIS` and :class:`pyro.infer.ReweightedWakeSleep`).
    """

    def __init__(self, data_args: DataArgs | None = None) -> None:
        if not (data_args is None or callable(data_args) or isinstance(data_args, Mapping)):
            raise ValueError(
                "data_args: expected a mapping of sites to the guide's arguments, for example "
                "{'x': 'images'}, or a callable (generated, args, kwargs) -> (args, kwargs), found "
                f"{data_args!r}"
            )
        self.data_args = data_args

    def __call__(
        self,
        forward: Forward,
        generated: dict[str, Tensor],
        call: Call,
        memory: PairMemory,
    ) -> tuple[Args, Kwargs]:
        """Returns the guide's arguments with x' in place of the data.

        Args:
            forward: The forward run of the model.
            generated: x' by site.
            call: The pair and its arguments.
            memory: What is known of the pair.

        Raises:
            ValueError: If a site has no place, with the line to write.
        """
        args, kwargs = call.args, dict(call.kwargs)
        if callable(self.data_args):
            bound = self.data_args(dict(generated), args, kwargs)
            if not (isinstance(bound, tuple) and [type(b) for b in bound] == [tuple, dict]):
                raise ValueError(f"data_args must return (args, kwargs), found {describe(bound)}")
            return bound
        named = dict(self.data_args or {})
        self._check_named(named, forward, generated)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        originals, leaves, missing = list(leaves), list(leaves), []
        taken: dict[int, str] = {}
        sources: dict[str, list[int]] = {}
        for site, value in generated.items():
            if site in named:
                continue
            places, holders = self._places(site, forward, originals, call, memory)
            for index, write in places:
                _check_place(site, value, forward.originals[site], taken.get(index))
                typed = in_type_of(value, leaves[index], forward.channel)
                leaves[index] = write(leaves[index], typed)
                taken |= {index: site} if holders else {}
            if not places:
                missing.append(site)
            elif not memory.followed:
                sources[site] = [index for index, _ in places]
        if sources:  # at the first look
            require_no_copy(sources, call)
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        for site, argument in named.items():
            if site in generated and argument is not None:
                args, kwargs = _bind_named(
                    argument, site, generated[site], forward, call.guide, args, kwargs
                )
        if missing and "observations" in parameters_of(call.guide):
            # Only covariates keep the values that the caller gave.
            kwargs["observations"] = dict(kwargs.get("observations") or {}, **generated)
            missing = []
        if missing:
            raise ValueError(_no_place(missing, forward, call.guide, args, kwargs))
        return args, kwargs

    @staticmethod
    def _check_named(
        named: Mapping[str, Any], forward: Forward, generated: Mapping[str, Tensor]
    ) -> None:
        for site in named:
            if site not in generated and site not in forward.trace:
                raise ValueError(
                    f"data_args names the site '{site}', which the model does not have; "
                    f"its generated sites are {sorted(generated)}"
                )

    def _places(
        self,
        site: str,
        forward: Forward,
        leaves: Sequence[Any],
        call: Call,
        memory: PairMemory,
    ) -> tuple[list[tuple[int, Writer]], bool]:
        """Arguments that hold the observed value, and whether they hold nothing else."""
        original = forward.originals[site]
        if not isinstance(original, Tensor):
            return [], False
        tensors = [(i, leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        holders = [i for i, leaf in tensors if is_view(original, leaf)]
        if holders:
            return [(i, whole_writer(original, leaves[i])) for i in holders], True
        parts = [i for i, leaf in tensors if is_part(original, leaf)]
        if parts:
            return [(i, part_writer(original, leaves[i])) for i in parts], False
        frames = plate_frames(forward.trace, site)
        key = (site, tuple((i, leaf.shape, leaf.dtype) for i, leaf in tensors))
        if key not in memory.places:  # a GPU would have to be waited for
            memory.places[key] = source_of(site, forward, call, frames)
        return [(i, _source_writer(original, frames)) for i in memory.places[key]], True


def _source_writer(original: Tensor, frames: Frames) -> Writer:
    """Puts x' in the argument that its data were taken from, which may hold no other data."""

    def write(leaf: Tensor, value: Tensor) -> Tensor:
        if leaf.numel() == full_shape(original.shape, frames).numel():
            return scatter(leaf, value, frames)
        return value.reshape(leaf.shape)  # all of a call's data, of which the plate says more

    return write


def _check_place(site: str, value: Tensor, original: Tensor, other: str | None) -> None:
    if other is not None:
        raise ValueError(
            f"sites '{other}' and '{site}' are observed at the same argument: say whose x' the "
            f"guide reads, for example data_args={{'{site}': None}}"
        )
    if value.numel() != original.numel():
        raise ValueError(
            f"the data drawn at site '{site}' have shape {tuple(value.shape)}, the observed ones "
            f"{tuple(original.shape)}: give the distribution the shape of its data. (Instead of a "
            "plate of particles in the model, use num_particles of the base ELBO.) Or pass a "
            "callable data_args=lambda generated, args, kwargs: (new_args, new_kwargs)"
        )


def _bind_named(
    argument: str | int,
    site: str,
    value: Tensor,
    forward: Forward,
    guide: Any,
    args: Args,
    kwargs: Kwargs,
) -> tuple[Args, Kwargs]:
    names = list(parameters_of(guide))
    position = argument if isinstance(argument, int) else None
    if isinstance(argument, str) and argument not in kwargs and argument in names:
        position = names.index(argument)
    if position is not None and position < len(args):
        placed = fit(value, args[position], site, forward.trace, argument)
        return (*args[:position], placed, *args[position + 1 :]), kwargs
    if isinstance(argument, int) or (
        names and argument not in names and argument not in kwargs and not _takes_any_keyword(guide)
    ):
        raise ValueError(
            f"data_args sends site '{site}' to {argument!r}, but the guide takes "
            f"{names or f'{len(args)} positional arguments'}"
        )
    placed = fit(value, kwargs.get(argument), site, forward.trace, argument)
    return args, {**kwargs, argument: placed}


def _takes_any_keyword(guide: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters_of(guide).values())


def _no_place(
    missing: list[str], forward: Forward, guide: Any, args: Args, kwargs: Mapping[str, Any]
) -> str:
    parameters = parameters_of(guide)
    named = named_arguments(guide, args, kwargs)
    sites = ", ".join(f"'{s}' {describe(forward.originals[s])}" for s in missing)
    arguments = ", ".join(f"{n}: {describe(v)}" for n, v in named.items()) or "none"
    site = missing[0]
    fitting = [name for name, value in named.items() if _could_hold(value, forward, site)]
    ways = []
    if len(fitting) == 1:
        ways.append(f"for example data_args={{'{site}': {fitting[0]!r}}}")
    elif fitting:
        ways.append(f"data_args={{'{site}': ...}} with one of {fitting}")
    callable_ = "data_args=lambda generated, args, kwargs: (new_args, new_kwargs)"
    if not parameters and not kwargs:
        ways.append(
            "give model and guide the data as an argument (they may be global variables now), or "
            f"pass {callable_}"
        )
    else:
        ways.append(f"pass a callable {callable_}")
    ways.append(f"or data_args={{'{site}': None}} if the guide does not read it")
    return (
        "the guide has to read the generated data in place of the real ones, but no argument "
        f"is the value observed at {sites}, or a view of it (arguments: {arguments}). "
        f"Say where it goes: {'; '.join(ways)}"
    )


def _could_hold(argument: Any, forward: Forward, site: str) -> bool:
    """Whether an argument has as many numbers as x' of a site, or as the whole of its data."""
    if not isinstance(argument, Tensor):
        return False
    value = forward.generated[site]
    full = full_shape(value.shape, plate_frames(forward.trace, site))
    return argument.numel() in (value.numel(), full.numel()) and argument.numel() > 0
