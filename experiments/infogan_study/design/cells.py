"""The runs of `experiments.infogan_study`, as data: which cells, which seeds, in which order.

Four properties of InfoGAN are crossed: the training, the category, the prior of the codes, and the
term on the codes. Half of the cells with InfoGAN's own structure, and with a plain VAE's, come
again on data whose factors have other laws.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from experiments.command_line import as_arguments
from experiments.runner.run import Run

Training: TypeAlias = Literal["gan", "vae"]
Prior: TypeAlias = Literal["uniform", "gaussian"]
Term: TypeAlias = Literal["off", "infogan", "learnt"]
DataName: TypeAlias = Literal["D3", "D4", "D4-laplace"]
Scale: TypeAlias = Literal["full", "smoke"]
FULL: Scale = "full"
SMOKE: Scale = "smoke"

CATEGORIES = 10
FIRST_LAW: DataName = "D3"
SECOND_LAW: DataName = "D4"
"""Data of the law cells; D4-laplace in its place if the pre-check finds that GANs follow it
better."""
SEEDS = 12
"""Seeds of each cell, shared by all cells."""
MOST_SEEDS = 24
"""Seeds of each cell with the one extension that the rules allow."""
PRE_CHECK_SEED, MENDED_SEED = 100, 102
"""Seeds of the pre-check, outside those of the study: the first of all cells, the second of those
whose training was mended."""


@dataclass(frozen=True)
class Cell:
    """All that the runs of a cell share."""

    training: Training
    """``gan``: adversarial; ``vae``: by the likelihood."""
    category: bool
    """Whether there is a category of ten."""
    prior: Prior
    """Prior of the two codes."""
    term: Term
    """``off``; ``infogan``: codes scored by a normal of scale 1; ``learnt``: the bound, whose
    guide learns its scale."""
    data: DataName = FIRST_LAW

    @property
    def name(self) -> str:
        """Name in folders and tables."""
        category = "category" if self.category else "plain"
        return f"{self.training}-{category}-{self.prior}-{self.term}-{self.data}"

    def run(self, seed: int, scale: Scale = "full") -> Run:
        """Makes the run of a seed."""
        flags = {
            "training": self.training,
            "categories": CATEGORIES if self.category else 0,
            "prior": self.prior,
            "term": self.term,
            "data": self.data,
            "seed": seed,
        }
        return _job(self.run_name(seed), "train_cell", flags, scale)

    def run_name(self, seed: int) -> str:
        """Names the run of a seed."""
        return f"{self.name}-seed{seed}"


def data_run(name: DataName, scale: Scale = "full") -> Run:
    """Makes the run that draws a data set and trains its digit classifier."""
    return _job(f"data-{name}", "draw_data", {"data": name}, scale)


def _job(name: str, module: str, flags: Mapping[str, object], scale: Scale) -> Run:
    size = ["--smoke"] if scale == "smoke" else ["--digits", "mnist"]
    arguments = (*as_arguments(flags), *size)
    return Run(name, arguments, f"experiments.infogan_study.jobs.{module}", goes_on=True)


FACTORIAL: tuple[Cell, ...] = tuple(
    itertools.starmap(
        Cell,
        itertools.product(get_args(Training), (True, False), get_args(Prior), get_args(Term)),
    )
)
"""All combinations of the four properties, on the first law."""
INFOGAN = Cell("gan", True, "uniform", "infogan")
"""InfoGAN's own cell."""


def law_cells(data: DataName) -> tuple[Cell, ...]:
    """Lists the cells in which prior and law are crossed, on one of the data sets.

    Codes of either prior under either form of the term: GANs with the category, VAEs without.
    """
    models: tuple[tuple[Training, bool], ...] = (("gan", True), ("vae", False))
    terms: tuple[Term, ...] = ("infogan", "learnt")
    return tuple(
        Cell(training, category, prior, term, data)
        for (training, category), prior, term in itertools.product(models, get_args(Prior), terms)
    )


MENDED: tuple[Cell, ...] = tuple(
    cell for cell in FACTORIAL if cell.training == "vae" and cell.category
)
"""Cells whose training was mended in the pre-check: the weight of the term on the category."""
LAWS: tuple[Cell, ...] = (*law_cells(FIRST_LAW), *law_cells(SECOND_LAW))
"""The cells of the poster's guess: those of the second law, and their twins of the factorial."""
CELLS: tuple[Cell, ...] = (*FACTORIAL, *law_cells(SECOND_LAW))
"""All 32 cells of the study."""


@dataclass(frozen=True)
class Block:
    """The runs of one part of the study."""

    name: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    def runs(self, known: Collection[str] = (), scale: Scale = "full") -> Iterator[Run]:
        """Yields the runs but those in `known`: all cells of the first seed, then of the next."""
        for seed, cell in itertools.product(self.seeds, self.cells):
            if cell.run_name(seed) not in known:
                yield cell.run(seed, scale)


def blocks(seeds: int = SEEDS) -> list[Block]:
    """Lists the blocks; the pre-check has both candidates for the second law.

    Args:
        seeds: Number of seeds of the confirmatory block.
    """
    candidates: tuple[DataName, ...] = ("D4", "D4-laplace")
    asked = [cell for name in candidates for cell in law_cells(name)]
    once = [cell for cell in asked if cell.data == SECOND_LAW or cell.training == "gan"]
    return [
        Block("pre-check", (*FACTORIAL, *once), (PRE_CHECK_SEED,)),
        Block("mended", MENDED, (MENDED_SEED,)),
        Block("confirmatory", CELLS, tuple(range(seeds))),
    ]


def smoke_blocks() -> list[Block]:
    """Lists a GAN and a VAE with one seed, and no pre-check."""
    cells = (INFOGAN, Cell("vae", True, "gaussian", "learnt"))
    return [Block("pre-check", (), ()), Block("confirmatory", cells, (0,))]


def stages(
    todo: Sequence[Block], known: Collection[str] = (), scale: Scale = "full"
) -> list[list[Run]]:
    """Sorts runs into stages: the data that are needed, then the runs block by block.

    Args:
        todo: Blocks to run.
        known: Names of runs that are in the table.
        scale: Size of the runs.
    """
    trained = {run.name: run for block in todo for run in block.runs(known, scale)}
    needed = dict.fromkeys(
        cell.data
        for block in todo
        for cell in block.cells
        if any(cell.run_name(seed) in trained for seed in block.seeds)
    )
    return [[data_run(name, scale) for name in needed], list(trained.values())]
