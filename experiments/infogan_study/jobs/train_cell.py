r"""Train and measure one run of InfoGAN's study: a cell and a seed.

A GAN or a VAE with a code of 2 dimensions and a noise of 4 is trained on images whose factors are
known. Images are made from draws of its priors and measured. Leaves metrics.json, which is the
run's row in the study's table, and traversals.npz. Started again, the program goes on from its
checkpoint.

    python -m experiments.infogan_study.jobs.train_cell --training gan --seed 0 --out runs/cell
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.command_line import Stopped, check_settings, errors_only, parse, stopping
from experiments.infogan_study.design.cells import Cell
from experiments.infogan_study.design.datasets import StudyData
from experiments.infogan_study.jobs.draw_data import cache_of, load
from experiments.infogan_study.jobs.measurements import measure, read_real, traverse
from experiments.infogan_study.jobs.models import Pair, build
from experiments.infogan_study.jobs.settings import (
    CELL_CHECKS,
    SAME_NUMBERS,
    TRAVERSALS,
    CellConfig,
    settled,
)
from experiments.tables import Row
from pyro_mivae import runs
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.runs.lock import FolderInUseError
from pyro_mivae.training import Interrupted, NonFiniteError, fit
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    config = parse(CellConfig, "infogan_study.jobs.train_cell", __doc__, arguments)
    try:
        check_settings(config, CELL_CHECKS)
        config, folder = place_of(config)
        with stopping(), errors_only("pyro_mivae.information"):
            run(config, folder)
    except (Interrupted, Stopped) as stop:
        print(f"\n{stop}")
        return 128 + stop.signal
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (NonFiniteError, CheckpointError, FolderInUseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def place_of(config: CellConfig) -> tuple[CellConfig, Path]:
    """Settles the settings and names the folder; a run that is resumed has its own settings.

    Raises:
        FileNotFoundError: If there is no run to resume.
        ValueError: If the folder has a run with other settings, or its settings can't be read.
    """
    if config.resume is not None:
        folder = config.resume
        return _stored(folder), folder
    config = settled(config)
    folder = config.out or Path("runs") / cell_of(config).run_name(config.seed)
    if (folder / runs.CONFIG).exists():
        before = _stored(folder)
        for field in dataclasses.fields(config):
            now, then = (getattr(each, field.name) for each in (config, before))
            if field.name not in SAME_NUMBERS and now != then:
                raise ValueError(
                    f"--{field.name.replace('_', '-')} is {now}, but the run in {folder} was "
                    f"started with {then}: say the same, or choose another --out"
                )
    return config, folder


def _stored(folder: Path) -> CellConfig:
    settings: dict[str, Any] = runs.read_config(folder)["settings"]
    paths = {n: Path(settings[n]) for n in ("data_dir", "cache_dir") if settings.get(n)}
    try:
        config = CellConfig(**{**settings, **paths, "out": None, "resume": None})
        check_settings(config, CELL_CHECKS)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / runs.CONFIG} has no settings of a cell ({error}): it was edited, or is of "
            "another version. Delete the folder, and start the same command again"
        ) from error
    return config


def cell_of(config: CellConfig) -> Cell:
    """Returns the cell of a run's settings."""
    return Cell(config.training, config.categories > 0, config.prior, config.term, config.data)


def run(config: CellConfig, folder: Path) -> None:
    """Trains and measures into `folder`, from the checkpoint that it has."""
    started, processor = time.monotonic(), time.process_time()
    data = load(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_config(folder, dataclasses.asdict(config), data.source)
    pair = build(config.training, config.categories, config.prior, config.term, seed=config.seed)
    train(config, pair, data, folder)
    trained = time.monotonic() - started
    reader = read_real(data, config.reader_steps, cache_of(config, folder))
    row = {**head_of(config), **measure(pair, data, reader, draws=config.draws, seed=config.seed)}
    # Of the last start: a run that went on has them of its rest.
    row["seconds/training"], row["seconds/total"] = trained, time.monotonic() - started
    row["seconds/processor"] = time.process_time() - processor
    with atomic_path(folder / TRAVERSALS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=traverse(pair, seed=config.seed))
    runs.write_json(folder / runs.METRICS, row)  # last: a run that has it is done
    print(f"{row['run']}: alignment {row['alignment']:.2f} nats, {row['seconds/total']:.0f} s")


def head_of(config: CellConfig) -> Row:
    """Makes the columns that identify a run, and how it was trained."""
    return {
        "run": cell_of(config).run_name(config.seed),
        "training": config.training,
        "category": int(config.categories > 0),
        "prior": config.prior,
        "term": config.term,
        "data": config.data,
        "seed": config.seed,
        "steps": config.steps,
    }


def train(config: CellConfig, pair: Pair, data: StudyData, folder: Path | None) -> None:
    """Trains a pair on the images of its seed.

    Args:
        config: Settings.
        pair: Model, guide and objective.
        data: Data set.
        folder: Folder of the checkpoints; None for none.
    """
    fit(
        pair.module.model,
        pair.guide,
        pair.objective,
        data.pool[torch.from_numpy(data.rows(config.seed, config.train))],
        steps=config.steps or 0,
        batch_size=config.batch_size,
        drop_last=True,
        prepare=pair.module.observe,
        optimizer=pair.optimizer,
        seed=config.seed,
        device="cpu",
        log_every=min(250, config.steps or 250),
        folder=folder,
        checkpoint_every=config.checkpoint_every,
        resume=folder is not None and has_checkpoint(folder),
        progress=False,
    )


if __name__ == "__main__":
    sys.exit(main())
