"""Plates that take a batch for a part of more data, and scale its sums up to all of them."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger

from pyro_mivae.traces.sites import is_data

_PARTICLES = "num_particles_vectorized"
"""Name of the plate of Pyro's ELBOs for their particles."""


class DataPlates(Messenger):  # type: ignore[misc]
    """The number of data that the sums over a batch stand for, read off a run of the model.

    Under ``pyro.plate("data", N, subsample_size=len(x))``, Pyro's idiom for batches that come from
    outside, the terms of a batch are sums over N data.

    Args:
        count: Number of data in the batch.

    Attributes:
        plates: The plates of this size around each site of the data: the number that each takes
            its part of, or None where it takes all, by name.
    """

    def __init__(self, count: float) -> None:
        super().__init__()
        self.count = count
        self.plates: dict[str, dict[str, int | None]] = {}

    @property
    def is_unclear(self) -> bool:
        """Whether plates differ: something has as many parts by chance as the batch has data."""
        return len({size for plates in self.plates.values() for size in _sizes(plates)}) > 1

    def number(self, other: DataPlates | None = None) -> int | None:
        """Returns the number of data of the plate; None where sums are over the batch.

        Args:
            other: The plates of a run on a batch of another size. Plates and sites that have not
                changed with it play no part then. Without it, plates that take a part come first.
        """
        sizes: set[int | None] = set()
        for site, plates in self.plates.items():
            kept = plates
            if other is not None:
                kept = {name: n for name, n in plates.items() if name in other.plates.get(site, {})}
                if site not in other.plates or (plates and not kept):
                    continue
            sizes.add(max((size for size in _sizes(kept) if size is not None), default=None))
        return sizes.pop() if len(sizes) == 1 else None

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if not is_data(msg):
            return
        plates = {
            frame.name: frame.full_size if frame.full_size != frame.size else None
            for frame in msg["cond_indep_stack"]
            if frame.vectorized and frame.name != _PARTICLES and abs(frame.size - self.count) < 1
        }
        if plates or self.count in msg["value"].shape:  # else it stands beside all data
            self.plates[msg["name"]] = plates


def _sizes(plates: dict[str, int | None]) -> set[int | None]:
    """What plates of the batch's size take their part of; None also where there is no plate."""
    return {*plates.values()} or {None}
