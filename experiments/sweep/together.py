"""The seeds of a combination trained as one, into the folders of their runs.

The runs themselves then find their trainings done, and measure.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.command_line import Stopped, stopping
from experiments.mnist.config import COMPILE, Config, parse_run, read_settings
from experiments.runner.engine import Engine
from experiments.runner.run import Outcome, Run
from pyro_mivae import runs
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint

if TYPE_CHECKING:
    from experiments.one_run import Place

NAME = re.compile(r"(?P<combination>.+)-seed(?P<seed>\d+)")
PREFIX = "together-"
RESULT = "trained.json"


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        combination: Start of the runs' names.
        runs: The runs by seed.
    """

    combination: str
    runs: dict[int, Run]

    def training(self) -> Run:
        """Makes the run that trains all of them."""
        seeds = [str(seed) for seed in self.runs]
        first = next(iter(self.runs.values()))
        return Run(
            f"{PREFIX}{self.combination}-seeds{'-'.join(seeds)}",
            ("--seeds", ",".join(seeds), self.combination, *first.arguments),
            module="experiments.sweep.together",
            result=RESULT,
            goes_on=True,
        )


def groups(todo: Sequence[Run], folder: Path) -> list[Group]:
    """Lists the groups of runs that are not done, of two seeds at least.

    Args:
        todo: Runs of a sweep.
        folder: Folder of the sweep.
    """
    by_combination: dict[str, dict[int, Run]] = {}
    for run in todo:
        matched = NAME.fullmatch(run.name)
        if matched is not None and not (folder / run.name / run.result).exists():
            seeds = by_combination.setdefault(matched["combination"], {})
            seeds[int(matched["seed"])] = run
    return [Group(name, seeds) for name, seeds in by_combination.items() if len(seeds) > 1]


def train(engine: Engine, todo: Sequence[Run], folder: Path) -> tuple[list[Run], list[Outcome]]:
    """Trains groups of runs.

    Args:
        engine: What executes runs.
        todo: Runs of a sweep.
        folder: Folder of the sweep.

    Returns:
        The runs that can be executed now, and what became of the groups whose runs can't.
    """
    together = groups(todo, folder)
    outcomes = engine.run([group.training() for group in together], folder, "trainings")
    if any(outcome.status == "stopped" for outcome in outcomes):
        return [], outcomes
    left: set[str] = set()
    bad = []
    for group, outcome in zip(together, outcomes, strict=True):
        if outcome.status not in ("done", "skipped"):
            bad.append(outcome)
            left |= {run.name for run in group.runs.values()}
    return [run for run in todo if run.name not in left], bad


def main(arguments: list[str] | None = None) -> int:
    """Trains one group; returns the program's exit code."""
    _, seeds, combination, *flags = sys.argv[1:] if arguments is None else arguments
    try:
        _, folder = parse_run(flags)
        configs = {
            seed: _config(flags, folder.parent / f"{combination}-seed{seed}", seed)
            for seed in map(int, seeds.split(","))
        }
        with stopping():
            _train(configs, folder)
    except Stopped as stop:
        return 128 + stop.signal
    except (ValueError, OSError, RuntimeError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _config(flags: Sequence[str], folder: Path, seed: int) -> Config:
    config, _ = parse_run(flags)
    begun = has_checkpoint(folder)
    output = dataclasses.replace(config.output, out=folder, resume=folder if begun else None)
    training = dataclasses.replace(config.training, seed=seed)
    return dataclasses.replace(config, output=output, training=training)


def _train(configs: dict[int, Config], folder: Path) -> None:
    """Trains the runs of a group, and notes in the folder of each how long it took."""
    from experiments.mnist.model import build
    from experiments.mnist.program import TOGETHER, recorder, training_settings
    from experiments.one_run import OneRun
    from pyro_mivae.datasets import load_digits
    from pyro_mivae.training import Interrupted, fit_many, make_fabric
    from pyro_mivae.training.rebuilding import trained_guide

    started = time.monotonic()
    first = next(iter(configs.values()))
    if first.training.devices > 1:
        raise ValueError("--together trains on one device: leave out --devices, or --together")
    begun = {config.output.resume is not None for config in configs.values()}
    if len(begun) > 1:
        raise ValueError(
            "some of these seeds have a checkpoint and others have none: start the sweep without "
            "--together, which trains each by itself"
        )
    digits = load_digits(first.data.data, data_dir=first.data.data_dir)
    pairs = {seed: build(config) for seed, config in configs.items()}
    places: dict[int, Place] = {}

    def make_pair(seed: int) -> tuple[Any, Any, Any]:
        vae, elbo = pairs[seed]
        return vae.model, trained_guide(vae), elbo

    with ExitStack() as stack:
        for seed, config in configs.items():
            run = OneRun("mnist", config, config.output.out or folder, digits, read_settings)
            places[seed] = run.claim(stack)
        moved = digits.to(make_fabric(first.training.device).device)
        settings = training_settings(first, pairs[first.training.seed][0])
        try:
            trained = fit_many(
                make_pair,
                moved.train.images,
                seeds=list(configs),
                **settings,
                compile=COMPILE[first.training.compile] is True,
                callbacks=lambda seed: [recorder(configs[seed], places[seed], pairs[seed], moved)],
                folder={seed: place.folder for seed, place in places.items()},
                resume=begun == {True},
            )
        except Interrupted as stop:
            raise Stopped(stop.signal) from None
        if errors := [f"seed {s}: {run.error}" for s, run in trained.items() if run.error]:
            raise RuntimeError("; ".join(errors))
        seconds = (time.monotonic() - started) / len(configs)
        for place in places.values():
            noted = {"seeds": list(configs), "seconds_per_seed": seconds}
            runs.write_json(place.folder / TOGETHER, noted)
    folder.mkdir(exist_ok=True)
    runs.write_json(folder / RESULT, {"seeds": list(configs), "seconds_per_seed": seconds})


if __name__ == "__main__":
    sys.exit(main())
