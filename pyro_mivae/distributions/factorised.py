"""Independent dimensions, for training steps that are short."""

from __future__ import annotations

from typing import Any

from pyro import distributions as dist
from torch import Size


class Factorised(dist.Independent):  # type: ignore[misc]  # Pyro has no types
    """The result of ``.to_event()``, which a plate of its own size does not expand again.

    Pyro's plates expand every distribution anew, which costs time in a small training step.
    """

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """Returns the same distribution with a larger batch shape."""
        if _instance is None and Size(batch_shape) == self.batch_shape:
            return self
        return super().expand(batch_shape, _instance)
