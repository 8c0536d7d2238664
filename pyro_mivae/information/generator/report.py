"""The words of a generator's measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyro_mivae.information.generator.measurement import GeneratorInformation

_WIDTH = 11


def report(result: GeneratorInformation) -> str:
    """Writes a measurement as lines of text: tables of codes and factors, then single numbers."""
    quality, info = result.quality, result.information
    source = "means of x'" if result.channel == "mean" else "drawn x'"
    lines = [f"GeneratorInformation of {result.num_draws} images ({source})"]
    if info is None:
        lines.append("  information: not measured, too few images have strokes")
    else:
        lines += _table("information, nats", result, info.matrix.values, ceiling=info.ceiling)
    lines += _table("total effect", result, result.effects)
    if result.effects_floor.any():
        lines.append(_row("(nothing anew)", result.effects_floor))
    if info is not None and info.alignment is not None and info.matched is not None:
        one, other = info.matched
        lines += [
            f"  alignment {info.alignment} nats (ceiling {info.alignment_ceiling:.3f}), amount "
            f"{info.amount} nats",
            f"    where {one} stands for {info.pair[0]} and {other} for {info.pair[1]}",
        ]
    lines += [
        f"  class accuracy of {name}: {100 * match.accuracy:.1f} %"
        for name, match in result.classes.items()
    ]
    distances = ", ".join(f"{name} {value:.3f}" for name, value in quality.distances.items())
    lines += [
        f"  Fréchet distance {quality.frechet:.1f} (halves of the real images "
        f"{quality.frechet_floor:.1f}, one average image {quality.frechet_variance:.0f})",
        f"  distance of laws: {distances}, label {quality.label_distance:.3f}",
        f"  rarest class {quality.rarest_class}: {100 * quality.rarest:.1f} %; certainty "
        f"{quality.certainty:.3f} (real {quality.certainty_real:.3f}); not measured "
        f"{100 * quality.unmeasured:.2f} %",
        f"  the reader tells {100 * result.accuracy:.1f} % of real test images rightly",
    ]
    if result.channel == "sample":
        lines.append(
            "  drawn pixels are measured: speckle changes strokes. The means are channel='mean'"
        )
    return "\n".join(lines)


def _table(
    title: str, result: GeneratorInformation, values: Any, *, ceiling: Any = None
) -> list[str]:
    lines = [_row(title, result.factors)]
    lines += [_row(code, row) for code, row in zip(result.codes, values, strict=True)]
    return lines if ceiling is None else [*lines, _row("(ceiling)", np.diag(ceiling))]


def _row(head: str, cells: Sequence[Any] | Any) -> str:
    words = [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells]
    return f"  {head:<18}" + "".join(f"{word:>{_WIDTH}}" for word in words)
