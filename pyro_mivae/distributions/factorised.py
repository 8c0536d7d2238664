"""Independent dimensions, for training steps that are short."""

from __future__ import annotations

from typing import Any

from pyro import distributions as dist
from torch import Size


class Factorised(dist.Independent):  # type: ignore[misc]  # Pyro has no types
    """What ``.to_event()`` makes, which a plate of its own size leaves as it is.

    Pyro's plates expand every distribution anew; a small training step feels it.
    """

    def expand(self, batch_shape: Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        if _instance is None and Size(batch_shape) == self.batch_shape:
            return self
        return super().expand(batch_shape, _instance)
