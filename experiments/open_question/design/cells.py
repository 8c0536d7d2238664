"""The runs of `experiments.open_question`, as data: which cells, how many seeds, what for."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from experiments.command_line import as_arguments, plain
from experiments.open_question.design.arms import ArmName
from experiments.open_question.design.datasets import DataName
from experiments.runner.run import Run

SEEDS_A_RUN = 10
"""Seeds that one process trains: its start and the data are shared by them."""
MI_WEIGHT = 2.0
"""lambda of the arms that enforce information, which the hypotheses are about."""
MOST_SEEDS = 80
"""Seeds on re-inked digits, if they are added."""
REINKED: tuple[DataName, DataName] = ("D3", "D4")
RESAMPLED: tuple[DataName, DataName] = ("D1", "D2")
PERMUTED: tuple[DataName, DataName] = ("D1-control", "D2-control")
SPRITES: tuple[DataName, DataName] = ("D6a", "D6b")
FOLLOW_UP = "sprites-follow-up"
AGAIN = ("controls-again", "sprites-again", "re-inked-again")
"""More seeds than planned, added when others had been seen: they have a table of their own."""

Scale = Literal["full", "smoke"]
Adds = Literal["plan", "rule", "fresh"]
MainPrior: TypeAlias = Literal["gaussian", "uniform"]
MainChannel: TypeAlias = Literal["mean", "straight-through"]
MAIN_TERMS: tuple[tuple[float, MainChannel], ...] = (
    (0.0, "straight-through"),  # without the term the channel does nothing
    (1.0, "straight-through"),
    (1.0, "mean"),
)
"""Weight and channel of the information term of the main job's models."""


@dataclass(frozen=True)
class Cell:
    """An arm on a data set, at a weight: all that is shared by some seeds."""

    arm: ArmName
    data: DataName
    mi_weight: float = MI_WEIGHT
    code_scale: float | None = None
    """1 for InfoGAN's form of the term."""

    @property
    def name(self) -> str:
        """Name in folders and tables."""
        form = "" if self.code_scale is None else f"-scale{plain(self.code_scale)}"
        return f"{self.arm}-{self.data}-lambda{plain(self.mi_weight)}{form}"

    def runs(self, seeds: int, scale: Scale = "full", known: Collection[int] = ()) -> Iterator[Run]:
        """Yields the runs of the first `seeds` seeds but those whose seeds are all in `known`."""
        flags = {"arm": self.arm, "data": self.data, "mi-weight": self.mi_weight}
        if self.code_scale is not None:
            flags["code-scale"] = self.code_scale
        for first in range(0, seeds, SEEDS_A_RUN):
            number = min(SEEDS_A_RUN, seeds - first)
            own = {**flags, "first-seed": first, "num-seeds": number}
            if not all(seed in known for seed in range(first, first + number)):
                yield arm_run(f"{self.name}-seeds{first}-{first + number - 1}", own, scale)


def arm_run(name: str, flags: Mapping[str, object], scale: Scale) -> Run:
    """Makes a run of experiments.open_question.jobs.train_arm."""
    made_of = ["--smoke"] if scale == "smoke" else ["--digits", "mnist"]
    arguments = (*as_arguments(flags), *made_of)
    return Run(name, arguments, module="experiments.open_question.jobs.train_arm", goes_on=True)


@dataclass(frozen=True)
class MainModel:
    """A run of the main job, and the measurement of its codes."""

    prior: MainPrior
    mi_weight: float
    channel: MainChannel
    seed: int

    @property
    def name(self) -> str:
        """The run's folder."""
        weight = plain(self.mi_weight)
        return f"main-{self.prior}-{self.channel}-lambda{weight}-seed{self.seed}"

    def run(self, scale: Scale = "full") -> Run:
        """Makes the run of experiments.mnist."""
        flags = {
            "prior": self.prior,
            "channel": self.channel,
            "mi-weight": self.mi_weight,
            "seed": self.seed,
        }
        size = (
            ["--smoke", "--steps", "10"] if scale == "smoke" else ["--data", "mnist", "--compile"]
        )
        return Run(self.name, (*as_arguments(flags), *size))

    def measurement(self, folder: Path, scale: Scale = "full") -> Run:
        """Makes the run of experiments.open_question.jobs.measure_codes on it."""
        asked = ["--smoke"] if scale == "smoke" else []
        return Run(
            f"codes-{self.name}",
            (str(folder.resolve() / self.name), *asked),
            module="experiments.open_question.jobs.measure_codes",
            goes_on=True,
        )


@dataclass(frozen=True)
class Block:
    """The runs of one question."""

    name: str
    cells: tuple[Cell, ...] = ()
    seeds: int = 0
    """Number of seeds of each cell."""
    models: tuple[MainModel, ...] = ()
    adds: Adds = "plan"
    """Why it was added, if it was: by the rule of H1, or to see what becomes of a result."""


def blocks(*, add_seeds: bool = False) -> list[Block]:
    """Lists all blocks, in the order in which they are run.

    Args:
        add_seeds: Whether the cells of the interaction on re-inked digits have
            :data:`~experiments.open_question.design.cells.MOST_SEEDS` seeds, as its rule allows.
    """
    pair: tuple[ArmName, ...] = ("T", "G")
    others: tuple[ArmName, ...] = ("B", "L", "R", "G-full", "T-full", "B-full", "L-full", "R-full")
    added = [Block("added-seeds", ADDED, MOST_SEEDS, adds="rule")] if add_seeds else []
    return [
        Block("confirmatory", _cells(("G", "P", "T"), REINKED, (0.0, MI_WEIGHT)), 40),
        Block("resampled", _cells(pair, RESAMPLED), 20),
        Block("controls", _cells(pair, ("D0", *PERMUTED)), 10),
        Block("sprites", _cells(pair, SPRITES), 20),
        Block("symmetry", (*_cells(others, ("D3",)), Cell("G-full", "D3", 0.0)), 20),
        Block("size", _cells(("G", "P", "T"), ("D5",)), 20),
        Block(
            "category",
            (
                *_cells(("I", "IN", "T"), ("D3",)),
                *(Cell(arm, "D3", code_scale=1.0) for arm in ("I", "T")),
            ),
            20,
        ),
        Block(
            "weight",
            (
                *_cells(pair, REINKED, (0.5, 8.0)),
                *(Cell(arm, data, code_scale=1.0) for arm in pair for data in REINKED),
            ),
            10,
        ),
        Block(FOLLOW_UP, EXPLORATORY, 20),
        Block("controls-again", _cells(pair, PERMUTED), 20, adds="fresh"),
        Block("sprites-again", _cells(("G", "P", "T"), SPRITES), 40, adds="fresh"),
        Block(
            "re-inked-again",
            (*_cells(("P",), REINKED), *_cells(pair, REINKED, (0.0,))),
            MOST_SEEDS,
            adds="fresh",
        ),
        Block(
            "main",
            models=tuple(
                MainModel(prior, weight, channel, seed)
                for seed in range(5)
                for prior in get_args(MainPrior)
                for weight, channel in MAIN_TERMS
            ),
        ),
        *added,
    ]


def smoke_blocks() -> list[Block]:
    """Lists the four cells of an interaction with two seeds, and a main model."""
    return [
        Block("confirmatory", _cells(("G", "T"), REINKED), 2),
        *(Block(name) for name in ("resampled", "controls", "sprites", "symmetry", "size")),
        Block("category"),
        Block("weight"),
        Block(FOLLOW_UP),
        *map(Block, AGAIN),
        Block("main", models=(MainModel("uniform", 1.0, "straight-through", 0),)),
    ]


def stages(
    todo: Sequence[Block],
    folder: Path,
    *,
    seeds: int | None,
    scale: Scale,
    known: Mapping[str, Collection[int]] | None = None,
) -> list[list[Run]]:
    """Sorts runs into stages: data, then trainings block by block, then their measurements.

    Within a block the first seeds of all cells come first, so that a study that is stopped has
    the same seeds of each. What two blocks have is run once.

    Args:
        todo: Blocks to run.
        folder: Folder of the study.
        seeds: Most seeds of each cell and main model; None for all.
        scale: Size of the runs, ``"full"`` or ``"smoke"``.
        known: Seeds of which there are numbers already, by the names of cells and main models.
    """
    known = known or {}
    trained: dict[str, Run] = {}
    data: dict[DataName, None] = {}
    models: list[MainModel] = []
    for block in todo:
        parts = {
            cell: list(cell.runs(_at_most(block.seeds, seeds), scale, known.get(cell.name, ())))
            for cell in block.cells
        }
        for runs in itertools.zip_longest(*parts.values()):
            trained |= {run.name: run for run in runs if run is not None}
        if scale == "full":
            data |= dict.fromkeys(cell.data for cell, runs in parts.items() if runs)
        chosen = [
            model
            for model in block.models
            if (seeds is None or model.seed < seeds) and model.seed not in known.get(model.name, ())
        ]
        trained |= {model.name: model.run(scale) for model in chosen}
        models += chosen
    return [
        [arm_run(f"data-{name}", {"data": name, "num-seeds": 0}, scale) for name in data],
        list(trained.values()),
        [model.measurement(folder, scale) for model in models],
    ]


def _cells(
    arms: Sequence[ArmName], data: Sequence[DataName], weights: Sequence[float] = (MI_WEIGHT,)
) -> tuple[Cell, ...]:
    return tuple(itertools.starmap(Cell, itertools.product(arms, data, weights)))


def _at_most(number: int, cap: int | None) -> int:
    return number if cap is None else min(number, cap)


EXPLORATORY = (*_cells(("P",), SPRITES), *_cells(("G", "P", "T"), SPRITES, (0.0,)))
"""Cells that were added after the results of the sprites were seen, and that no rule has."""
ADDED = _cells(("T", "G"), REINKED)
"""The cells for which the rule of H1 may demand more seeds."""
