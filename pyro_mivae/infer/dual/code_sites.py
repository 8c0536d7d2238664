"""Which sites are scored in a call of the dual pass: the codes that are latent in it."""

from __future__ import annotations

import logging
import re

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.infer.dual.binding import argument_of
from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.isolation import aside
from pyro_mivae.traces.call import Call, parameters_of
from pyro_mivae.traces.rerun import latent_values, plate_indices, run_again
from pyro_mivae.traces.sites import (
    Codes,
    Dims,
    latent_sites,
    unwrap,
)

logger = logging.getLogger(__name__)

_SUFFIXES = re.compile(
    "(_(decentered|base|([zt]_)?(uniform|exponential)|normal|gamma|updated|split_[0-9]+|dct|haar|"
    "transformed|init|trans|obs|shared_latent))+"
)
"""What Pyro's reparameterisations, one after the other, append to the name of a site."""


def _made_of(name: str, latent: list[str]) -> list[str]:
    """Picks the sites that a reparameterisation made of a site, by their names.

    A user's own may append another word. Then all names that begin with the site's count.
    """
    begin_alike = [other for other in latent if other.startswith(f"{name}_")]
    known = [other for other in begin_alike if _SUFFIXES.fullmatch(other.removeprefix(name))]
    return known or begin_alike


def _require_alone(
    replaced: dict[str, list[str]], noise: list[str], forward: Forward, call: Call
) -> None:
    """Refuses a reparameterised code that is no function of codes alone.

    Args:
        replaced: The sites that were made of a code, by its name.
        noise: The latent sites that are no code.
        forward: The forward run.
        call: The pair and its arguments.

    Raises:
        ValueError: If its value changes with the noise: the information of the sites that were
            made of it is then not that of the code.
    """
    values = latent_values(forward.trace)
    given = {name: value for name, value in values.items() if name not in noise}
    given |= plate_indices(forward.trace)
    try:
        device = next(iter(values.values())).device
        with aside([call.model], device), pyro.validation_enabled(False):
            again = run_again(call.model, call.args, call.kwargs, given).nodes
            pairs = {
                name: (forward.trace.nodes[name]["value"], again[name]["value"])
                for name in replaced
            }
            moved = [name for name, pair in pairs.items() if not torch.allclose(*pair)]
    except Exception as error:  # foreign code, or tensors without values
        logger.debug("could not look what reparameterised codes are made of: %s", error)
        return
    if moved:
        parts = [part for name in moved for part in replaced[name]]
        raise ValueError(
            f"the codes {moved} are reparameterised, and beside {parts} they are made of noise, "
            f"among {noise}: the information of {parts} is not that of {moved}. Expected what a "
            "code is made of among the codes: add these sites to codes, name "
            f"codes={parts} if their information is meant, or leave the reparameterisation out"
        )


class CodeSites:
    """The code sites that were requested, and those of a call.

    Args:
        named: Sites and their event dimensions (None: all of them); None for all latent sites
            that model and guide share.
        observed: Observed sites that keep their data value.
    """

    def __init__(self, named: Codes | None, observed: tuple[str, ...]) -> None:
        self.named = named
        self.observed = observed

    def is_left_out(
        self, name: str, forward: Forward, call: Call, memory: PairMemory, *, argument: str
    ) -> bool:
        """Tells whether a site that is no code of this call is one in others.

        Args:
            name: The site.
            forward: The forward run.
            call: The pair and its arguments.
            memory: What is known of the pair.
            argument: The argument that names the site, for the message.

        Raises:
            ValueError: If the site is one of data in all calls.
        """
        if name in memory.seen_latent:
            return True
        latent = [site for site in latent_sites(forward.trace) if site not in forward.generated]
        if name not in forward.trace or name in latent:
            return False
        self._check_can_be_latent(name, forward, call, latent, argument)
        return True

    def latent(self, forward: Forward, call: Call, memory: PairMemory) -> Codes:
        """Returns the code sites that are latent in this call."""
        latent = [name for name in latent_sites(forward.trace) if name not in forward.generated]
        if self.named is None:
            return dict.fromkeys(latent)
        present: dict[str, Dims | None] = {}
        for name, dims in self._replaced(forward, latent, call, memory).items():
            if name not in forward.trace:
                raise ValueError(
                    f"codes names the site '{name}', which the model does not have; its latent "
                    f"sites are {latent}"
                )
            if name in latent:
                memory.seen_latent.add(name)
                present[name] = dims
            elif name not in memory.seen_latent:
                self._check_can_be_latent(name, forward, call, latent)
        return present

    def _replaced(
        self, forward: Forward, latent: list[str], call: Call, memory: PairMemory
    ) -> Codes:
        """The named codes, those that ``poutine.reparam`` replaced by the sites it made of them.

        A reparameterisation is a bijection of a site and its auxiliary sites, whose names begin
        with the site's: their information is that of the site.
        """
        named = self.named or {}
        codes: dict[str, Dims | None] = {}
        new: dict[str, list[str]] = {}
        for name, dims in named.items():
            site = forward.trace.nodes.get(name)
            is_point = site is not None and site["type"] == "sample" and site["is_observed"]
            is_point = is_point and isinstance(unwrap(site["fn"]), dist.Delta)
            parts = _made_of(name, latent) if is_point else []
            if not parts:
                codes[name] = dims
                continue
            if dims is not None:
                raise ValueError(
                    f"codes={{'{name}': {dims!r}}}: the site '{name}' is reparameterised, and its "
                    f"latent sites are {parts}: name dimensions of these"
                )
            if name not in memory.seen_latent:
                new[name] = parts
                logger.info("code '%s' is reparameterised: its sites %s are scored", name, parts)
            codes |= dict.fromkeys(parts)
            memory.owners.update(dict.fromkeys(parts, name))
        noise = [site for site in latent if site not in codes]
        if new and noise:
            _require_alone(new, noise, forward, call)
        memory.seen_latent.update(new)
        return codes

    def _check_can_be_latent(
        self,
        name: str,
        forward: Forward,
        call: Call,
        latent: list[str],
        argument: str = "codes",
    ) -> None:
        """Tells a label that is observed in some calls from data, which always is."""
        site = forward.trace.nodes[name]
        data = forward.originals.get(name, site["value"])
        place = None
        if site["type"] == "sample" and isinstance(data, Tensor):
            place = argument_of(data, call.model, call.args, call.kwargs)
        parameter = parameters_of(call.model).get(place or "")
        required = parameter is not None and parameter.default is parameter.empty
        is_auxiliary = name not in forward.originals and name not in self.observed
        if is_auxiliary or required:
            why = f"it is the argument '{place}'" if required else "the model never draws it"
            raise ValueError(
                f"{argument} names the site '{name}', which is not latent: {why}. A code is drawn "
                f"from its prior; the latent sites of this call are {latent}. (For a label that "
                "some calls observe, give the argument the default None, or start with a call in "
                "which it is latent.)"
            )
        logger.info("code site '%s' is observed in this call and left out of the bound", name)

    def shared(self, codes: Codes, guide_trace: poutine.Trace, memory: PairMemory) -> Codes:
        """Returns the codes that the guide has, in its order."""
        drawn = latent_sites(guide_trace)
        if self.named is None:
            latent = list(codes)
            codes = {name: dims for name, dims in codes.items() if name in drawn}
            memory.seen_latent.update(codes)
            if not codes:
                raise ValueError(
                    f"model and guide share no latent site (the model's are {latent}, the guide's "
                    f"{drawn}): there is no code to score. Give the guide's sites the names of the "
                    "model's"
                )
        for name in codes:
            if name not in drawn:
                raise ValueError(
                    f"the guide has no site for the code '{name}': q({name}|x') is what the bound "
                    f"scores. The guide's latent sites are {drawn}"
                )
            if isinstance(unwrap(guide_trace.nodes[name]["fn"]), dist.Delta):
                raise ValueError(
                    f"the guide's code site '{name}' is a Delta, a point without a density to "
                    "score (so are the sites of Pyro's autoguides, which do not read the data "
                    f"either): write a guide with a density q({name}|x)"
                )
        return {name: codes[name] for name in drawn if name in codes}
