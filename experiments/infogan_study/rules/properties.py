"""The contrasts of the study, as weights of cells: six that are judged, and those beside them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from experiments.infogan_study.design.cells import (
    FACTORIAL,
    FIRST_LAW,
    INFOGAN,
    LAWS,
    Cell,
    Training,
)
from experiments.infogan_study.rows import value
from experiments.tables import Row

Measure: TypeAlias = Callable[[Row], float]
Which: TypeAlias = Callable[[Cell], bool]


def alignment(row: Row) -> float:
    """Returns the primary measure, the alignment A in nats."""
    return value(row, "alignment")


def half_difference(row: Row) -> float:
    """Returns half of I_T - I_S, whose interaction of prior and law is that of the poster's guess.

    The laws of T and S are exchanged together, so that the mean of the interaction of I_T and the
    mirrored one of I_S is the interaction of this difference.
    """
    return (value(row, "I_T") - value(row, "I_S")) / 2


@dataclass(frozen=True, eq=False)
class CellContrast:
    """A mean over cells less a mean over cells.

    Attributes:
        name: Property that is looked at.
        about: What is compared.
        weights: Weights of the cells, which sum to 0.
        margin: Nats below which a difference would not matter; 0 where none is judged.
        measure: Measure of a run.
    """

    name: str
    about: str
    weights: Mapping[Cell, float]
    margin: float = 0.0
    measure: Measure = alignment


@dataclass(frozen=True)
class Levels:
    """Two levels of a property."""

    name: str
    about: str
    treated: Which
    control: Which
    margin: float


PROPERTIES: tuple[Levels, ...] = (
    Levels(
        "adversarial training",
        "GAN less VAE",
        lambda c: c.training == "gan",
        lambda c: c.training == "vae",
        0.25,
    ),
    Levels(
        "the category",
        "with less without",
        lambda c: c.category,
        lambda c: not c.category,
        0.10,
    ),
    Levels(
        "the uniform prior",
        "uniform less Gaussian",
        lambda c: c.prior == "uniform",
        lambda c: c.prior == "gaussian",
        0.10,
    ),
    Levels(
        "InfoGAN's term",
        "InfoGAN's form less off",
        lambda c: c.term == "infogan",
        lambda c: c.term == "off",
        0.10,
    ),
    Levels(
        "a proper bound in its place",
        "learnt scale less off",
        lambda c: c.term == "learnt",
        lambda c: c.term == "off",
        0.10,
    ),
)
GUESS = "the poster's guess"
GUESS_MARGIN = 0.10


def difference(cells: Iterable[Cell], treated: Which, control: Which) -> dict[Cell, float]:
    """Weighs the mean over the treated cells less the mean over the controls."""
    every = list(cells)
    plus, minus = ([cell for cell in every if which(cell)] for which in (treated, control))
    weights = {cell: 1 / len(plus) for cell in plus}
    return weights | {cell: -1 / len(minus) for cell in minus}


def guess_weights(*trainings: Training) -> dict[Cell, float]:
    """Weighs the interaction of prior and law, the mean over trainings and forms of the term."""
    cells = [cell for cell in LAWS if cell.training in trainings]
    share = 4 / len(cells)
    return {
        cell: share * (1 if cell.prior == "uniform" else -1) * (1 if cell.data == FIRST_LAW else -1)
        for cell in cells
    }


def guess(*trainings: Training) -> CellContrast:
    """Makes the contrast of the poster's guess: codes align with the factor that has their law."""
    about = "prior by law, of I_T and I_S"
    return CellContrast(GUESS, about, guess_weights(*trainings), GUESS_MARGIN, half_difference)


def main_effects(which: Which = lambda cell: True) -> list[CellContrast]:
    """Lists the contrasts of the properties, among the chosen cells of the factorial.

    A property of which these cells have one level only is left out.
    """
    cells = [cell for cell in FACTORIAL if which(cell)]
    return [
        CellContrast(
            levels.name,
            levels.about,
            difference(cells, levels.treated, levels.control),
            levels.margin,
        )
        for levels in PROPERTIES
        if any(map(levels.treated, cells)) and any(map(levels.control, cells))
    ]


CONFIRMATORY: tuple[CellContrast, ...] = (*main_effects(), guess("gan", "vae"))
"""The six contrasts that are judged."""


def inside(training: Training) -> list[CellContrast]:
    """Lists the contrasts inside GANs or inside VAEs, the poster's guess among them."""
    return [*main_effects(lambda cell: cell.training == training), guess(training)]


def interactions() -> list[CellContrast]:
    """Lists the two-way interactions: by how much one property's effect grows with another's."""
    contrasts = []
    for one, other in itertools.combinations(PROPERTIES, 2):
        if {one.name, other.name} == {PROPERTIES[3].name, PROPERTIES[4].name}:
            continue  # two levels of one property, against the same third
        with_other = difference(filter(other.treated, FACTORIAL), one.treated, one.control)
        without = difference(filter(other.control, FACTORIAL), one.treated, one.control)
        weights = with_other | {cell: -weight for cell, weight in without.items()}
        name = f"{one.name} × {other.name}"
        contrasts.append(CellContrast(name, "difference of differences", weights))
    return contrasts


def removals() -> list[CellContrast]:
    """Lists what InfoGAN's own cell loses without one property."""
    others = {
        "by the likelihood": Cell("vae", True, "uniform", "infogan"),
        "without the category": Cell("gan", False, "uniform", "infogan"),
        "with Gaussian codes": Cell("gan", True, "gaussian", "infogan"),
        "without the term": Cell("gan", True, "uniform", "off"),
        "with the proper bound": Cell("gan", True, "uniform", "learnt"),
    }
    return [
        CellContrast(name, "InfoGAN's cell less this one", {INFOGAN: 1.0, cell: -1.0})
        for name, cell in others.items()
    ]
