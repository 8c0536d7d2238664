"""Counts of draws that rounding has put on an edge of their support."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyro_mivae.infer.supports import EDGE_REMEDY, at_edge

_MANY = 0.01
"""The share of numbers at an edge from which a measurement is refused."""

_FEW = 4
"""Numbers at an edge that are noted and never refused."""


@dataclass
class EdgeDraws:
    """Numbers of draws at an edge, by site: their densities are not those of the draws.

    Attributes:
        counts: Numbers at an edge, tensors of shape ``()`` on the draws' device.
        totals: Numbers that were drawn.
        dtypes: The precision of the draws.
    """

    counts: dict[str, Tensor] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)

    def look(self, trace: Any, names: Iterable[str]) -> None:
        """Counts the draws of sites of a trace.

        Raises:
            ValueError: If many of the first draws of a site lie at an edge.
        """
        for name in names:
            fn, value = trace.nodes[name]["fn"], trace.nodes[name]["value"]
            edge = at_edge(fn, value)
            if edge is None:
                continue
            first = name not in self.totals
            self.counts[name] = edge.sum() + (0 if first else self.counts[name])
            self.totals[name] = edge.numel() + (0 if first else self.totals[name])
            self.dtypes[name] = str(value.dtype).removeprefix("torch.")
            if first:
                self.require_few(name)

    def require_few(self, name: str) -> None:
        """Raises a ``ValueError`` if too many draws of a site lie at an edge."""
        if int(self.counts[name]) > max(_MANY * self.totals[name], _FEW):
            raise ValueError(
                f"{self._of(name)}, where their densities are not those of the draws: the result "
                f"would be wrong. {EDGE_REMEDY}"
            )

    def note(self) -> str | None:
        """Says what to mind of the draws at an edge, or None where no draw lies there.

        Raises:
            ValueError: If there are many of them.
        """
        names = [name for name, count in self.counts.items() if int(count)]
        for name in names:
            self.require_few(name)
        if not names:
            return None
        return (
            f"{', '.join(map(self._of, names))}, where their densities are not those of the draws. "
            f"{EDGE_REMEDY}, to be sure"
        )

    def _of(self, name: str) -> str:
        return (
            f"{int(self.counts[name])} of {self.totals[name]} numbers drawn at site '{name}' lie "
            f"at an edge of its support in {self.dtypes[name]}"
        )
