"""What an ELBO has learnt about a model/guide pair: kept for each pair, and as long as it lives."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from pyro_mivae.traces.call import Call


@dataclass
class PairMemory:
    """The findings about one pair, which later calls rely on.

    Attributes:
        support_checked: Whether the supports of guide and prior were compared.
        kl_estimators: ``"analytic"`` or ``"sampled"`` by latent site.
        has_scores: Whether some dual pass with gradients had score-function terms.
        followed: Whether x' was followed through the guide.
        moving: The codes of which the guide's support is made from x'.
        blind: The guide's sites whose density does not depend on x'.
        places: The arguments, by their place, that x' of a site goes to, where the model took it
            from them by plates' indices or in another number type. By the site and the form of the
            arguments.
        guide_plates: Plates that the guide alone subsamples.
        codes_checked: Code sites whose prior and guide were compared.
        means_checked: Whether the means that the channel hands on were seen to be finite.
        sampled: Sites whose analytic KL would be wrong; None until they are known.
        dependent: Plates along which the weights of several draws depend on each other; None until
            they are known.
        crossed: Plates along which a draw without a pathwise gradient moves the terms of other
            cells, by whether the guide is looked at, too.
        seen_latent: Code sites that were latent in some call.
        owners: The code site that was named, by each of the sites that ``poutine.reparam`` made
            of it.
        players_checked: Whether two players and their arguments were compared.
        codes_played: Whether that was in a call with codes, which the guide had to read.
        coupled: Whether the discriminator's output for a datum depends on the others, by its mode.
    """

    support_checked: bool = False
    kl_estimators: dict[str, str] = field(default_factory=dict)
    has_scores: bool = False
    followed: bool = False
    moving: set[str] = field(default_factory=set)
    blind: set[str] = field(default_factory=set)
    places: dict[Hashable, list[int]] = field(default_factory=dict)
    guide_plates: set[str] = field(default_factory=set)
    codes_checked: set[str] = field(default_factory=set)
    means_checked: bool = False
    sampled: frozenset[str] | None = None
    dependent: frozenset[str] | None = None
    crossed: dict[bool, frozenset[str]] = field(default_factory=dict)
    seen_latent: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    players_checked: bool = False
    codes_played: bool = False
    coupled: dict[bool, bool] = field(default_factory=dict)


class PairMemories:
    """The memory of each pair that was seen, weakly keyed by model and guide.

    A bound method is another object at each access; it is known by its owner and its function.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[PairMemory, tuple[Any, ...]]] = {}

    def __call__(self, call: Call) -> PairMemory:
        """Returns the memory of the pair of a call, a new one for a pair that was not seen."""
        owners, functions = zip(*map(_parts, (call.model, call.guide)), strict=True)
        key = (*map(id, owners), *map(id, functions))
        if key not in self._entries:
            entries = self._entries

            def forget(_: Any) -> None:
                entries.pop(key, None)

            # The references keep functions alive (they belong to classes) and owners not.
            references = tuple(_reference(owner, forget) for owner in owners)
            entries[key] = PairMemory(), (references, functions)
        return self._entries[key][0]

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[type[PairMemories], tuple[()]]:
        return PairMemories, ()  # a copy is of other pairs


def _parts(program: Any) -> tuple[Any, Any]:
    """The object that a program belongs to, and its function if it is a bound method."""
    function = getattr(program, "__func__", None)
    return (program, None) if function is None else (program.__self__, function)


def _reference(owner: Any, forget: Any) -> Any:
    try:
        return weakref.ref(owner, forget)
    except TypeError:  # slots without one: kept alive
        return owner
