"""How codes are scored at a step: the weight and the scale of each code site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.code_sites import CodeSites
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.infer.schedule import is_zero, require_all, require_codes
from pyro_mivae.infer.supports import is_discrete
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, unwrap


@dataclass(frozen=True)
class Scoring:
    """Weights and scales at a step.

    Attributes:
        weights: Weights of the code sites in what the gradient is taken of, by site; None where
            one weight of all of them is applied later.
        code_scale: Standard deviation of the normals that score continuous codes, one or by site;
            None for the guide's density.
    """

    weights: Mapping[str, Any] | None = None
    code_scale: Any = None

    def weight(self, site: str, memory: PairMemory) -> Any:
        """Returns the weight of a code site, 1 where one weight is applied later."""
        if self.weights is None:
            return 1.0
        return self.weights[site if site in self.weights else memory.owners[site]]

    def scale(self, site: str, memory: PairMemory) -> Any:
        """Returns the scale of a code site; None for the guide's density."""
        if not isinstance(self.code_scale, Mapping):
            return self.code_scale
        owner = memory.owners.get(site, site)
        return self.code_scale.get(site, self.code_scale.get(owner))

    def scales(self, codes: Codes, memory: PairMemory) -> dict[str, Any]:
        """Returns the scale of each code site."""
        return {site: self.scale(site, memory) for site in codes}

    def check(
        self,
        codes: Codes,
        forward: Forward,
        guide_trace: Any,
        call: Call,
        sites: CodeSites,
        memory: PairMemory,
    ) -> None:
        """Refuses mappings of other sites than the codes of a call, or a scale of a mass.

        Args:
            codes: The codes of the call.
            forward: The forward run.
            guide_trace: The guide at the codes.
            call: The pair and its arguments.
            sites: The codes that were requested; where they are named, the names were compared
                with the mapping's before.
            memory: What is known of the pair.

        Raises:
            ValueError: If a mapping does not fit.
        """
        owners = {memory.owners.get(site, site) for site in codes}
        for name, by_site in (("mi_weight", self.weights), ("code_scale", self.code_scale)):
            if not isinstance(by_site, Mapping) or sites.named is not None:
                continue
            others = [site for site in by_site if site not in codes and site not in owners]
            left_out = [
                site
                for site in others
                if sites.is_left_out(site, forward, call, memory, argument=name)
            ]
            require_codes(name, by_site, [*codes, *owners, *left_out])
            if name == "mi_weight":
                require_all(name, by_site, list(codes))
        if isinstance(self.code_scale, Mapping):
            for site in codes:
                fn = guide_trace.nodes[site]["fn"]
                scale = self.scale(site, memory)
                if scale is not None and is_discrete(fn):
                    raise ValueError(
                        f"code_scale[{site!r}] is {scale!r}, but the site '{site}' is discrete "
                        f"({type(unwrap(fn)).__name__}) and is scored by its mass: leave it out of "
                        "code_scale"
                    )


def counts(weight: Any) -> bool:
    """Tells whether a site of this weight is part of what is optimised: 0 times infinity is NaN."""
    return not is_zero(weight)
