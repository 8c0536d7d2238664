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
    """

    def __init__(self, count: float) -> None:
        super().__init__()
        self.count = count
        self._sizes: set[int | None] = set()

    @property
    def number(self) -> int | None:
        """Number of data of the plate; None where all sums are over the batch, or plates differ."""
        sizes = [*self._sizes]
        return sizes[0] if len(sizes) == 1 else None

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if not is_data(msg):
            return
        sizes = [
            frame.full_size or frame.size
            for frame in msg["cond_indep_stack"]
            if frame.vectorized and frame.name != _PARTICLES and abs(frame.size - self.count) < 1
        ]
        # With a plate of the batch itself, another of this size takes a part of something else.
        of_batch = not sizes or min(sizes) - self.count < 1
        self._sizes.add(None if of_batch else sizes[0])
