"""The graphs of a compiled ELBO by what each depends on, and the limit of their number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

from pyro_mivae.checks import check_count
from pyro_mivae.infer.compiled.capture import NotCapturedError
from pyro_mivae.infer.compiled.graphs import Compiled

GRAPHS = 8
"""The default limit: training and evaluation, whole batches and the last one, twice."""


class GraphCache:
    """Compiled graphs by their key.

    Args:
        max_graphs: Number of graphs that may be made; :meth:`clear` does not start it anew.

    Attributes:
        graphs: All graphs that were made, in order.
    """

    def __init__(self, max_graphs: int = GRAPHS) -> None:
        self.max_graphs = check_count("max_graphs", max_graphs)
        self.graphs: list[Compiled] = []
        self._by_key: dict[Hashable, Compiled] = {}
        self._warned = False

    def __len__(self) -> int:
        """Counts the graphs that can be called."""
        return len(self._by_key)

    def clear(self) -> None:
        """Forgets the keys: the next call of each makes another graph."""
        self._by_key.clear()

    def get(
        self, key: Hashable, make: Callable[[], Compiled], shapes: list[tuple[int, ...]]
    ) -> Compiled | None:
        """Returns the graph of a key, made if it is new, or None where the limit is reached.

        Args:
            key: Everything that the graph depends on.
            make: Captures and compiles the graph.
            shapes: Shapes of the call's tensors, for the warning at the limit.

        Raises:
            NotCapturedError: If the key holds what can't be compared.
        """
        try:
            graph = self._by_key.get(key)
        except TypeError as error:
            raise NotCapturedError(
                f"an argument is neither a tensor nor a constant to compare: {error}"
            ) from error
        if graph is not None or self._warned:
            return graph
        if len(self.graphs) == self.max_graphs:
            self._warned = True
            warnings.warn(
                f"{self.max_graphs} graphs were compiled, and there is need for more (this call's "
                f"tensors: {shapes}): calls that fit none of them run in eager mode. Use few batch "
                "sizes, or raise max_graphs",
                stacklevel=5,
            )
            return None
        graph = self._by_key[key] = make()
        self.graphs.append(graph)
        return graph
