"""The runs of `experiments.capacity`: which models, which seeds, in which order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TypeAlias

from experiments.command_line import as_arguments, plain
from experiments.poster.trainings import EPOCHS_5, EPOCHS_25
from experiments.runner.run import Run
from experiments.tables import Row

Scale: TypeAlias = Literal["full", "smoke"]
CODE_DIMS, NOISE_DIMS = (10, 20, 50), (2, 5, 10)
UNITS, LAYERS = (200, 500, 1000, 2000), (1, 2, 3)
WEIGHTS = (1.0, 2.0)
"""Values of lambda."""
FEWEST = 2
"""Models of a part of the map, and of a lambda, that are trained on: those with the least KL."""


@dataclass(frozen=True)
class Model:
    """A model with the poster's settings, but for what is named here.

    The poster's Figure 4 has a "large code" of a size that it does not give: here 10 beside a noise
    of 10 where the networks vary, as in its reproduction.
    """

    code_dim: int = 10
    noise_dim: int = 10
    hidden_units: int = 500
    hidden_layers: int = 2
    mi_weight: float = 1.0


def _sizes(weights: Iterable[float]) -> tuple[Model, ...]:
    sizes = itertools.product(weights, CODE_DIMS, NOISE_DIMS)
    return tuple(Model(code, noise, mi_weight=weight) for weight, code, noise in sizes)


WITHOUT = "without"
"""The part with the sizes of the map without the term: what a larger code does by itself."""
MAP: Mapping[str, tuple[Model, ...]] = {
    "sizes": _sizes(WEIGHTS),
    "networks": tuple(
        Model(hidden_units=units, hidden_layers=layers, mi_weight=weight)
        for weight, units, layers in itertools.product(WEIGHTS, UNITS, LAYERS)
    ),
}
"""The models of each part of the map. The poster's own networks are in both parts."""
PARTS: Mapping[str, tuple[Model, ...]] = {**MAP, WITHOUT: _sizes((0.0,))}
"""The models of each part that is trained for 5 epochs."""
LONG = "long"
"""The part with the longer trainings."""


@dataclass(frozen=True)
class Training:
    """A training of a model."""

    model: Model
    seed: int
    steps: int = EPOCHS_5

    @property
    def name(self) -> str:
        """The run's folder."""
        m = self.model
        return (
            f"{m.code_dim}+{m.noise_dim}-{m.hidden_layers}x{m.hidden_units}"
            f"-lambda{plain(m.mi_weight)}-seed{self.seed}-steps{self.steps}"
        )

    def run(self, scale: Scale = "full") -> Run:
        """Makes the run of experiments.mnist; `scale` is ``"full"`` or ``"smoke"``."""
        flags = {
            **{name.replace("_", "-"): v for name, v in dataclasses.asdict(self.model).items()},
            "channel": "mean",
            "seed": self.seed,
            "steps": self.steps if scale == "full" else 40,
        }
        poster = ("--prior", "gaussian", "--likelihood", "grey")
        evidence = ("--evidence-images", "100", "--evidence-samples", "10")
        full = ("--data", "mnist", "--validate-every", "550", *evidence)
        made_of = full if scale == "full" else ("--smoke",)
        return Run(self.name, (*poster, *made_of, *as_arguments(flags)))


def training_of(row: Row) -> Training:
    """Returns the training of a row."""
    names = [field.name for field in dataclasses.fields(Model)]
    return Training(Model(**{name: row[name] for name in names}), row["seed"], row["steps"])


@dataclass(frozen=True)
class Block:
    """The trainings of one part."""

    name: str
    trainings: tuple[Training, ...]


def blocks(rows: Sequence[Row], seeds: int, long_seeds: int) -> list[Block]:
    """Lists the parts: of 5 epochs, and the longer trainings of the map's that are whole.

    Args:
        rows: Rows of the table.
        seeds: Number of seeds of each model of the map.
        long_seeds: Number of seeds of the longer trainings.
    """
    parts = [Block(part, tuple(of_part(part, seeds))) for part in PARTS]
    long = dict.fromkeys(
        Training(model, seed, EPOCHS_25)
        for part in MAP
        for seed in range(long_seeds)
        for model in least(rows, part, seeds)
    )
    return [*parts, Block(LONG, tuple(long))]


def of_part(part: str, seeds: int) -> list[Training]:
    """Lists the trainings of a part, a seed of all models after the other."""
    return [Training(model, seed) for seed in range(seeds) for model in PARTS[part]]


def missing(rows: Sequence[Row], part: str, seeds: int) -> list[Training]:
    """Lists the trainings of a part that have no row."""
    known = {row["run"] for row in rows}
    return [training for training in of_part(part, seeds) if training.name not in known]


def least(rows: Sequence[Row], part: str, seeds: int) -> list[Model]:
    """Selects the models of a part whose noise has the least mean KL, for each lambda.

    Args:
        rows: Rows of the table.
        part: Name of the part.
        seeds: Number of seeds of each model of the map.

    Returns:
        The models; none unless all of the part have all their seeds.
    """
    if missing(rows, part, seeds):
        return []
    kl_of = {row["run"]: row["kl/z"] for row in rows}
    chosen: list[Model] = []
    for weight in WEIGHTS:
        models = [model for model in MAP[part] if model.mi_weight == weight]
        models.sort(key=lambda m: fmean(kl_of[Training(m, s).name] for s in range(seeds)))
        chosen += models[:FEWEST]
    return chosen


def smoke_blocks() -> list[Block]:
    """Lists the first run of each part of the map."""
    parts = [Block(name, (Training(models[0], 0),)) for name, models in PARTS.items()]
    return [*parts, Block(LONG, ())]


def todo_of(parts: Sequence[Block], known: Collection[str]) -> Iterator[Training]:
    """Yields the trainings of parts once each, without those of known runs."""
    every = dict.fromkeys(training for part in parts for training in part.trainings)
    yield from (training for training in every if training.name not in known)
