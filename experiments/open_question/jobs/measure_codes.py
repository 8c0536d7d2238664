r"""Measure the information of a run's codes about the factors of digits.

Information between every dimension and thickness, slant, width and label, on the test images; and
traversals of the code, with what was measured of each image.

    python -m experiments.open_question.jobs.measure_codes runs/main-uniform \
        --out runs/codes-main-uniform
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro

from experiments.command_line import Switch, check_folder, check_settings, parse
from experiments.mnist.config import read_settings
from experiments.mnist.model import load
from experiments.open_question.design.datasets import LABEL, REAL
from experiments.open_question.jobs import alignment
from experiments.open_question.jobs.alignment import Factors
from experiments.open_question.jobs.arm_data import measure
from experiments.results_folder import results_folder
from experiments.run_data import check_same_data, data_of
from pyro_mivae import runs
from pyro_mivae.checks import check_count
from pyro_mivae.datasets import Split, load_digits, measured
from pyro_mivae.training.checkpoints import CheckpointError

ARRAYS = "traversals.npz"


@dataclass(frozen=True)
class Config:
    """The run, its traversals, and where the results go."""

    run: tyro.conf.Positional[Path]
    """Folder of a run of experiments.mnist."""
    traversals: int = 40
    """Traversals of each dimension of the code."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    cache_dir: Path | None = None
    """Folder in which measurements are kept; by default ~/.cache/pyro_mivae."""
    out: Path | None = None
    """Folder of the results; by default RUN/codes."""
    smoke: Switch = False
    """Few traversals; measurements are kept in --out."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    config = parse(Config, "open_question.jobs.measure_codes", __doc__, arguments)
    out = config.out or config.run / "codes"
    if config.smoke:
        cache = config.cache_dir or out / "cache"
        config = dataclasses.replace(config, traversals=3, cache_dir=cache)
    try:
        folders = dict.fromkeys(("data_dir", "cache_dir", "out"), check_folder)
        check_settings(config, {"traversals": check_count, **folders})
        with results_folder(out):
            run(config, out)
    except (ValueError, OSError, RuntimeError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(config: Config, out: Path) -> None:
    """Measures the codes and writes into `out`."""
    started = time.monotonic()
    settings = read_settings(config.run)
    digits = load_digits(
        data_of(config.run, settings.data), data_dir=config.data_dir or settings.data.data_dir
    )
    check_same_data(config.run, digits)
    vae = load(config.run, torch.device("cpu"))
    measurements = measured(digits.test, cache_dir=config.cache_dir)
    values = {name: measurements[name].values for name in REAL.factors}
    measurable = np.isfinite(np.stack(list(values.values()))).all(0)
    values = {name: value[measurable] for name, value in values.items()}
    test = Split(
        *(part[torch.from_numpy(measurable)] for part in (digits.test.images, digits.test.labels))
    )
    labels = test.labels.double().numpy()
    factors = Factors.of({**values, LABEL: labels}, REAL.pair, LABEL)
    seed = settings.training.seed
    encoded = alignment.encode(vae, test.images, seed=seed)
    moved, arrays = alignment.generator(
        vae,
        partial(measure, factor_set=REAL),
        names=REAL.moved,
        scale=np.array([values[name].std() for name in REAL.moved]),
        number=config.traversals,
        seed=seed,
    )
    numbers = {
        "run": str(config.run),
        "settings": dataclasses.asdict(settings),
        "units": "nats",
        "versions": runs.versions(),
        "commit": runs.commit(),
        "seed": seed,
        "terms": alignment.terms(vae, test.images),
        "alignment": alignment.information(encoded, factors),
        "cross_checks": alignment.cross_checks(encoded, factors),
        "generator": moved,
        "checks": {
            "posterior_ks": alignment.aggregate_distance(encoded.draws["c"], vae.priors["c"]),
            "unmeasured": int((~measurable).sum()),
        },
        "seconds": {"total": time.monotonic() - started},
    }
    alignment.write_traversals(out / ARRAYS, arrays)
    runs.write_json(out / runs.METRICS, numbers)
    print(f"results: {out}")


if __name__ == "__main__":
    sys.exit(main())
