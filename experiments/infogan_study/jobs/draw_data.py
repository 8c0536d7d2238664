r"""Draw a data set of InfoGAN's study, and train its digit classifier.

Both are kept in the cache, so that the runs of the cells find them there. Leaves metrics.json.

    python -m experiments.infogan_study.jobs.draw_data --data D3 --out runs/data-D3
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from experiments.command_line import check_settings, parse
from experiments.infogan_study.design import datasets
from experiments.infogan_study.jobs.measurements import read_real
from experiments.infogan_study.jobs.settings import DATA_CHECKS, DataConfig, settled
from pyro_mivae import runs


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    config = parse(DataConfig, "infogan_study.jobs.draw_data", __doc__, arguments)
    try:
        check_settings(config, DATA_CHECKS)
        run(settled(config), config.out or Path("runs") / f"data-{config.data}")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def cache_of(config: DataConfig, folder: Path) -> Path | None:
    """Returns the folder of the cache: for a smoke run one beside its own folder."""
    if config.cache_dir is None and config.smoke:
        return folder.parent / "cache"
    return config.cache_dir


def load(config: DataConfig, folder: Path) -> datasets.StudyData:
    """Draws the data of a run's settings, or reads them from the cache."""
    return datasets.load(
        config.data,
        pool=config.pool,
        test=config.test,
        digits=config.digits,
        data_dir=config.data_dir,
        cache_dir=cache_of(config, folder),
    )


def run(config: DataConfig, folder: Path) -> None:
    """Draws the data, trains the network, and writes into `folder`."""
    data = load(config, folder)
    reader = read_real(data, config.reader_steps, cache_of(config, folder))
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_config(folder, dataclasses.asdict(config), data.source)
    numbers = {"reader_accuracy": reader.accuracy, "set_measured": dict(data.set_measured)}
    runs.write_json(folder / runs.METRICS, numbers)
    print(f"{config.data}: class accuracy {100 * reader.accuracy:.1f} % on the test images")


if __name__ == "__main__":
    sys.exit(main())
