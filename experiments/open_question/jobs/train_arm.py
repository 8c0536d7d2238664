r"""Train and measure several seeds of an arm of the open question.

A small VAE with a code of 2 dimensions and a noise of 4 is trained on images whose factors are
known. Each seed leaves seedN.json and seedN.npz as soon as it is done; metrics.json is there when
all are. Started again, the program goes on with the seeds that are lacking.

    python -m experiments.open_question.jobs.train_arm --arm T --data D3 --mi-weight 2 \
        --num-seeds 10 --out runs/T-D3
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor

from experiments import command_line
from experiments.open_question.design.arms import ARMS, ArmName, build
from experiments.open_question.design.datasets import DataName
from experiments.open_question.jobs import alignment
from experiments.open_question.jobs.arm_data import ArmData, load
from experiments.open_question.jobs.measure_arm import ArmEvaluator
from pyro_mivae import runs
from pyro_mivae.batches import Prepare
from pyro_mivae.checks import Check, check_count, check_number, check_seed, each, optional
from pyro_mivae.infer import Channel, TraceMI_ELBO, compile_elbo
from pyro_mivae.training import NonFiniteError, adam, fit, fit_many
from pyro_mivae.vae import MIVAE


@dataclass(frozen=True)
class Config:
    """An arm, its data, and the training, which is the same for all."""

    arm: ArmName = "T"
    """Prior and guide of the code: experiments/open_question/design/arms.py."""
    data: DataName = "D3"
    """Data set of the study: experiments/open_question/design/datasets.py."""
    mi_weight: float = 2.0
    """lambda, the weight of the information term; 0 leaves it out."""
    code_scale: float | None = None
    """Score continuous codes by normals of this standard deviation (1 is InfoGAN's form)."""
    channel: Channel = "straight-through"
    """How x' is generated."""
    first_seed: int = 0
    """The first seed: of images, weights, batches and draws."""
    num_seeds: int = 10
    """Number of seeds; 0 only draws the images, to be kept in the cache."""
    pool: int = 50_000
    """Images of which each seed takes some, the same for all arms."""
    train: int = 10_000
    """Images that a seed trains on."""
    test: int = 10_000
    """Images to measure on."""
    epochs: int = 15
    """Passes over the images."""
    batch_size: int = 100
    """Images in a step."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    traversals: int = 40
    """Traversals of each code, for what it does to the images."""
    hidden: tuple[int, ...] = (256, 256)
    """Layers of encoder and decoder."""
    compile: bool = True
    """Let Inductor compile the step, once for all seeds."""
    together: bool = True
    """Train all seeds as one, by fit_many; an arm with a category trains a seed at a time."""
    digits: Literal["auto", "mnist", "mnist-5k"] = "auto"
    """Digits that the images are made of: auto takes the full MNIST where it finds it."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*; by default that of the environment variable PYRO_MIVAE_DATA."""
    cache_dir: Path | None = None
    """Folder in which drawn images and measurements are kept; by default ~/.cache/pyro_mivae."""
    out: Path | None = None
    """Folder of the results; by default runs/arm-ARM-DATA."""
    smoke: command_line.Switch = False
    """A run of seconds: few images of mnist-5k, one epoch, not compiled."""


FROM_0, COUNTS = partial(check_count, least=0), ("pool", "train", "test", "epochs", "batch_size")
CHECKS: dict[str, Check] = {
    "mi_weight": partial(check_number, least=0),
    "code_scale": optional(partial(check_number, above=0)),
    "first_seed": check_seed,
    "num_seeds": FROM_0,
    **dict.fromkeys(COUNTS, check_count),
    "learning_rate": partial(check_number, above=0),
    "traversals": check_count,
    "hidden": each(check_count),
    **dict.fromkeys(("data_dir", "cache_dir", "out"), command_line.check_folder),
}
"""What the settings may be."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    try:
        config = parse(arguments)
        command_line.check_settings(config, CHECKS)
        run(config, config.out or Path("runs") / f"arm-{config.arm}-{config.data}")
    except (ValueError, OSError, RuntimeError, NonFiniteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> Config:
    """Parses the command line."""
    config = command_line.parse(Config, "open_question.jobs.train_arm", __doc__, arguments)
    if not config.smoke:
        return config
    return dataclasses.replace(
        config,
        pool=200,
        train=100,
        test=200,
        epochs=1,
        traversals=3,
        digits="mnist-5k",
        hidden=(32,),
        compile=False,
    )


def seed_file(folder: Path, seed: int) -> Path:
    """Returns the path of a seed's numbers."""
    return folder / f"seed{seed}.json"


def run(config: Config, folder: Path) -> None:
    """Trains and measures the seeds that are lacking in `folder`."""
    started = time.monotonic()
    seeds = range(config.first_seed, config.first_seed + config.num_seeds)
    folder.mkdir(parents=True, exist_ok=True)
    todo = [seed for seed in seeds if not seed_file(folder, seed).exists()]
    if todo or not seeds:
        data = load(
            config.data,
            pool=config.pool,
            test=config.test,
            digits=config.digits,
            data_dir=config.data_dir,
            cache_dir=config.cache_dir or (folder / "cache" if config.smoke else None),
        )
        _claim(config, data, folder)
    if todo:
        evaluator = ArmEvaluator(data)
        first, processor = time.monotonic(), time.process_time()
        for seed, vae, trained in _train(config, data, todo):
            numbers, arrays = evaluator.measure(
                vae,
                seed=seed,
                trained_on=data.rows(seed, config.train),
                traversals=config.traversals,
                code_scale=config.code_scale,
            )
            seconds = {"training": trained, "total": time.monotonic() - first}
            numbers["seconds"] = {**seconds, "processor": time.process_time() - processor}
            alignment.write_traversals(folder / f"seed{seed}.npz", arrays)
            runs.write_json(seed_file(folder, seed), numbers)  # last: a seed that has it is done
            print(f"{config.arm} on {config.data}, seed {seed}: {seconds['total']:.1f} s")
            first, processor = time.monotonic(), time.process_time()
    done = {"seeds": list(seeds), "seconds": {"total": time.monotonic() - started}}
    runs.write_json(folder / runs.METRICS, done)
    print(f"run folder: {folder}")


def _claim(config: Config, data: ArmData, folder: Path) -> None:
    """Writes the settings; a ``ValueError`` if the folder has a run with others."""
    settings = dataclasses.asdict(config)
    if (folder / runs.CONFIG).exists():
        before = runs.read_config(folder)["settings"]
        where = ("out", "data_dir", "cache_dir", "together")  # the same numbers
        for name in (n for n in settings if n not in where):
            now = settings[name]
            if before[name] != (list(now) if isinstance(now, tuple) else now):
                raise ValueError(
                    f"--{name.replace('_', '-')} is {now}, but the run in {folder} was started "
                    f"with {before[name]}: say the same, or choose another --out"
                )
    runs.write_config(folder, settings, data.source)


def _train(
    config: Config, data: ArmData, seeds: Sequence[int]
) -> Iterator[tuple[int, MIVAE, float]]:
    """Yields each seed with its trained model, and the seconds that its training took.

    Raises:
        NonFiniteError: If a term or a parameter of a seed is NaN or infinite; the others that are
            trained with it are yielded before.
    """
    together = config.together and len(seeds) > 1 and not _is_summed(config)
    yield from (_together if together else _by_turns)(config, data, seeds)


def _is_summed(config: Config) -> bool:
    """Whether the arm has a category, which is summed out: no such step can be recorded.

    With a gradient through its draws it stays unused.
    """
    return ARMS[config.arm].categories > 0


def _by_turns(
    config: Config, data: ArmData, seeds: Sequence[int]
) -> Iterator[tuple[int, MIVAE, float]]:
    """Trains one model anew from each seed, compiled once."""
    vae, summed = _build(config, seeds[0]), _is_summed(config)
    elbo = _elbo(config, vae, TraceEnum_ELBO(max_plate_nesting=1) if summed else None)
    guide = vae.guide.enumerated() if summed else vae.guide
    compiled = config.compile and not summed and compile_elbo(elbo, vae.model, guide)
    for seed in seeds:
        started = time.monotonic()
        vae.load_state_dict(_build(config, seed).state_dict())
        images = _images(config, data, seed)
        settings = _settings(config, vae.observe)
        fit(vae.model, guide, elbo, images, seed=seed, compile=compiled, **settings)
        yield seed, vae, time.monotonic() - started


def _together(
    config: Config, data: ArmData, seeds: Sequence[int]
) -> Iterator[tuple[int, MIVAE, float]]:
    """Trains a model for each seed, all as one."""
    started = time.monotonic()
    vaes = {seed: _build(config, seed) for seed in seeds}

    def pair(seed: int) -> tuple[Any, Any, TraceMI_ELBO]:
        return vaes[seed].model, vaes[seed].guide, _elbo(config, vaes[seed])

    trained = fit_many(
        pair,
        {seed: _images(config, data, seed) for seed in seeds},
        seeds=seeds,
        compile=config.compile,
        **_settings(config, vaes[seeds[0]].observe),
    )
    seconds = (time.monotonic() - started) / len(seeds)
    for seed, training in trained.items():
        if training.error is None:
            yield seed, vaes[seed], seconds
    for training in trained.values():
        if training.error is not None:
            raise training.error


def _build(config: Config, seed: int) -> MIVAE:
    return build(config.arm, hidden=config.hidden, seed=seed)


def _elbo(config: Config, vae: MIVAE, elbo: ELBO | None = None) -> TraceMI_ELBO:
    return TraceMI_ELBO(
        channel=config.channel,
        mi_weight=config.mi_weight,
        codes=vae.codes,
        code_scale=config.code_scale,
        elbo=elbo,
    )


def _images(config: Config, data: ArmData, seed: int) -> Tensor:
    """The images that a seed trains on."""
    return data.pool[torch.from_numpy(data.rows(seed, config.train))]


def _settings(config: Config, prepare: Prepare) -> dict[str, Any]:
    """The training, as :func:`fit` and :func:`fit_many` take it."""
    return {
        "steps": config.epochs * math.ceil(config.train / config.batch_size),
        "batch_size": config.batch_size,
        "prepare": prepare,
        "optimizer": lambda parameters: adam(parameters, config.learning_rate),
        "device": "cpu",
        "progress": False,
    }


if __name__ == "__main__":
    sys.exit(main())
