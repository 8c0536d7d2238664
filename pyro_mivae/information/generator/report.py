"""The words of a generator's measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyro_mivae.information.generator.measurement import GeneratorInformation
    from pyro_mivae.information.generator.quality import ImageQuality
    from pyro_mivae.information.generator.scores import CodeInformation

_WIDTH = 11


def summary(result: GeneratorInformation) -> str:
    """Writes the chief numbers of a measurement in a few lines."""
    info = result.information
    lines = [_title(result)]
    if info is not None:
        lines += [*most_lines(info), *alignment_lines(info)[:1]]
    lines += _classes(result)[:1]
    return "\n".join([*lines, *quality_lines(result.quality)[:1]])


def report(result: GeneratorInformation) -> str:
    """Writes a measurement as lines of text: tables of codes and factors, then single numbers."""
    info = result.information
    lines = [_title(result)]
    if info is None:
        lines.append("  information: not measured, too few images have strokes")
    else:
        lines += information_table(info)
    lines += _table("total effect", result.codes, result.factors, result.effects)
    bound = [c for c, row in zip(result.codes, result.effects, strict=True) if np.isnan(row).all()]
    if bound:
        lines.append(f"  can't be drawn anew alone, or measured: {', '.join(bound)}")
    if result.effects_floor.any():
        lines.append(_row("(nothing anew)", result.effects_floor))
    if info is not None:
        lines += alignment_lines(info)
    lines += _classes(result)
    lines += quality_lines(result.quality)
    lines.append(f"  accuracy of the reader on real test images: {100 * result.accuracy:.1f} %")
    if result.channel == "sample":
        lines.append(
            "  drawn pixels are measured: speckle changes strokes. The means are channel='mean'"
        )
    return "\n".join(lines)


def _title(result: GeneratorInformation) -> str:
    images = "means of x'" if result.channel == "mean" else "drawn x'"
    return f"GeneratorInformation of {result.num_draws} images ({images})"


def _classes(result: GeneratorInformation) -> list[str]:
    return [
        f"  class accuracy of {name}: {100 * match.accuracy:.1f} %"
        for name, match in result.classes.items()
    ]


def head(info: CodeInformation) -> str:
    """Writes what the information is of."""
    return f"Information of {len(info.codes)} codes about {info.num_images} generated images"


def most_lines(info: CodeInformation) -> list[str]:
    """Writes the largest information about each factor, in nats, and the code that carries it."""
    values = info.matrix.values
    most = [
        f"{factor} {values[row, column]:.2f} ({info.codes[row]})"
        for column, (factor, row) in enumerate(zip(info.factors, values.argmax(0), strict=True))
    ]
    return ["  most in nats: " + ", ".join(most)]


def information_table(info: CodeInformation) -> list[str]:
    """Writes the information of each code with each factor, and its ceiling, in nats."""
    lines = _table("information, nats", info.codes, info.factors, info.matrix.values)
    return [*lines, _row("(ceiling)", np.diag(info.ceiling))]


def alignment_lines(info: CodeInformation) -> list[str]:
    """Writes alignment and amount; nothing with fewer than two continuous codes."""
    if info.alignment is None or info.matched is None:
        return []
    one, other = info.matched
    return [
        f"  alignment {info.alignment} nats (ceiling {info.alignment_ceiling:.3f}), amount "
        f"{info.amount} nats",
        f"    where {one} stands for {info.pair[0]} and {other} for {info.pair[1]}",
    ]


def quality_lines(quality: ImageQuality) -> list[str]:
    """Writes how generated images compare with real ones."""
    distances = ", ".join(f"{name} {value:.3f}" for name, value in quality.distances.items())
    return [
        f"  Fréchet distance {quality.frechet:.1f} (halves of the real images "
        f"{quality.frechet_floor:.1f}, one average image {quality.frechet_variance:.0f})",
        f"  distance of laws: {distances}, label {quality.label_distance:.3f}",
        f"  rarest class {quality.rarest_class}: {100 * quality.rarest:.1f} %; certainty "
        f"{quality.certainty:.3f} (real {quality.certainty_real:.3f}); not measured "
        f"{100 * quality.unmeasured:.2f} %",
    ]


def _table(title: str, codes: Sequence[str], factors: Sequence[str], values: Any) -> list[str]:
    rows = [_row(code, row) for code, row in zip(codes, values, strict=True)]
    return [_row(title, factors), *rows]


def _row(head: str, cells: Sequence[Any] | Any) -> str:
    words = [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells]
    return f"  {head:<18}" + "".join(f"{word:>{_WIDTH}}" for word in words)
