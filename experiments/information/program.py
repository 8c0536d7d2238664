"""Say how much information the codes of a trained run carry, from both sides.

Leaves a table, its numbers, and figures of how the bounds close.

    python -m experiments.information runs/mnist-uniform-straight-through-20260101-120000
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
import xarray as xr
from rich.table import Table

from experiments.command_line import (
    Switch,
    check_folder,
    check_settings,
    console,
    errors_only,
    parse,
    smoke_folder,
)
from experiments.information.measurements import Sizes, last, measure
from experiments.mnist import program as mnist
from experiments.mnist.config import read_settings
from experiments.mnist.metrics import summary
from experiments.mnist.model import check_same_data, data_of, load
from pyro_mivae import plotting, runs
from pyro_mivae.checks import Check, check_count, check_draws, check_seed, each, optional
from pyro_mivae.datasets import load_digits
from pyro_mivae.information import Estimate, elbo_decomposition, log_evidence
from pyro_mivae.plotting.saving import save
from pyro_mivae.runs import groups
from pyro_mivae.training import make_fabric
from pyro_mivae.training.checkpoints import CheckpointError

NUMBERS, CURVES = "information.json", "information.nc"


@dataclass(frozen=True)
class Config:
    """Sizes of the measurements, and where the results go."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of a run of experiments.mnist; left out with --smoke, which trains one."""
    num_samples: tuple[int, ...] = (1, 10, 100, 1000, 5000)
    """Numbers K of draws at which the bounds under the model are noted."""
    images: int = 200
    """Generated images x' that the bounds under the model are averaged over."""
    num_data: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    """Numbers N of test images for the information under the data."""
    refit_steps: int = 3000
    """Steps in which a copy of the guide is fitted to generated images; 0 leaves it out."""
    refit_samples: int = 1000
    """The largest K with the refitted guide, for which the bounds close sooner."""
    decomposition_images: int | None = None
    """Test images for taking the ELBO apart, which takes time by their square; None for all."""
    evidence_images: int = 100
    """Test images for the log-evidence, with the largest K."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    seed: int = 0
    """Seed of all random draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder of the results; by default RUN/information."""
    overwrite: Switch = False
    """Replace the results that are there."""
    smoke: Switch = False
    """A run of seconds: few draws, few images."""


CHECKS: dict[str, Check] = {
    "num_samples": each(check_draws),
    "num_data": each(check_count),
    **dict.fromkeys(("images", "refit_samples", "evidence_images"), check_draws),
    "refit_steps": partial(check_count, least=0),
    "decomposition_images": optional(check_count),
    "seed": check_seed,
    **dict.fromkeys(("data_dir", "out"), check_folder),
}
"""What the settings may be."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    config = parse(Config, "information", __doc__, arguments)
    try:
        check_settings(config, CHECKS)
        if config.smoke:
            config = _smoke(config)
        if config.run is None:
            raise ValueError("name the folder of a run (or --smoke for a trial)")
        out = config.out or config.run / "information"
        if (out / NUMBERS).exists() and not config.overwrite:
            raise FileExistsError(f"{out} holds results: choose another --out or --overwrite them")
        with errors_only("pyro_mivae.information"):
            run(config, config.run, out)
    except (ValueError, OSError, RuntimeError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _smoke(config: Config) -> Config:
    folder = config.run
    if folder is None:
        folder = smoke_folder(config.out) / "mnist"
        again = ["--overwrite"] if config.overwrite else []
        if mnist.main(["--smoke", "--out", str(folder), *again]):
            raise RuntimeError(f"no run could be trained in {folder}")
    return dataclasses.replace(
        config,
        run=folder,
        num_samples=(1, 5, 20),
        images=20,
        num_data=(50, 200),
        refit_steps=min(20, config.refit_steps),
        evidence_images=10,
    )


def run(config: Config, folder: Path, out: Path) -> None:
    """Measures the run in `folder` and writes into `out`."""
    settings = read_settings(folder)
    digits = load_digits(
        data_of(folder, settings.data), data_dir=config.data_dir or settings.data.data_dir
    )
    check_same_data(folder, digits)
    device = make_fabric(config.device).device
    digits = digits.to(device)
    vae, images = load(folder, device), digits.test.images
    started = time.monotonic()
    curves = measure(
        vae,
        images,
        digits.train.images,
        Sizes(
            num_samples=sorted(set(config.num_samples)),
            images=config.images,
            num_data=sorted({min(n, len(images)) for n in config.num_data}),
            refit_steps=config.refit_steps,
            refit_samples=config.refit_samples,
        ),
        seed=config.seed,
    )
    parts = elbo_decomposition(
        vae.model,
        vae.guide,
        images[: config.decomposition_images],
        prepare=vae.observe,
        seed=config.seed,
    )
    evidence = log_evidence(
        vae.model,
        vae.guide,
        images[: config.evidence_images],
        num_samples=max(config.num_samples),
        prepare=vae.observe,
        seed=config.seed,
    )
    terms = {
        "elbo": parts.elbo,
        "log_likelihood": parts.log_likelihood,
        "kl": parts.kl,
        "information": parts.information.estimate,
        "marginal_kl": parts.marginal_kl,
        "total_correlation": parts.total_correlation,
    }
    coordinates = {str(name): c.values.tolist() for name, c in curves.coords.items()}
    variables = {str(name): v.values.tolist() for name, v in curves.data_vars.items()}
    numbers = {
        "run": str(folder),
        "units": "nats per datum",
        "settings": dataclasses.asdict(config),
        "versions": runs.versions(),
        "commit": runs.commit(),
        "decomposition": {n: dataclasses.asdict(e) for n, e in terms.items() if e is not None},
        "dimension_kl": {n: v.tolist() for n, v in (parts.dimension_kl or {}).items()},
        "log_evidence": summary(evidence),
        "curves": {"coords": coordinates, **variables},
        "seconds": time.monotonic() - started,
    }
    out.mkdir(parents=True, exist_ok=True)
    groups.write(xr.DataTree(curves), out / CURVES)
    runs.write_json(out / NUMBERS, numbers)
    save({"information_curves": plotting.information_curves(curves)}, out, settings_of=folder)
    _report(numbers, curves, out)


def _report(numbers: Mapping[str, Any], curves: xr.Dataset, out: Path) -> None:
    table = Table(title="Information, nats per image")
    table.add_column("")
    codes = [str(code) for code in curves["codes"].values]
    for code in codes:
        table.add_column(code, justify="right")

    def row(name: str, cells: Iterable[Any]) -> None:
        table.add_row(name, *(f"{cell:.2f}" if isinstance(cell, float) else cell for cell in cells))

    one = {name: [float(v) for v in curves[name].values] for name in ("score", "bound", "kl")}
    row("score, x' the mean (no bound)", one["score"])
    row("Barber-Agakov bound on I(.; x')", one["bound"])
    for guide in curves["guide"].values:
        for side, word in (("lower", "at least"), ("upper", "at most")):
            estimates = [last(curves, side, guide, code) for code in codes]
            row(f"I(.; x') {word}, by the {guide} guide", [_cell(e) for e in estimates])
    aggregate = curves.isel(num_data=-1)
    number = int(aggregate["num_data"])
    names = ("aggregate_information", "aggregate_information_se")
    estimates = [Estimate(*e) for e in zip(*(aggregate[n].values for n in names), strict=True)]
    limit = f"I_q(.; x) of {number} images, log N = {math.log(number):.2f}"
    row(limit, [_cell(e) for e in estimates])
    row("mean KL(q || p), at least I_q", one["kl"])
    output = console()
    output.print(table)
    parts = Table(title="The ELBO taken apart, nats per image", show_header=False)
    for name, e in numbers["decomposition"].items():
        parts.add_row(name.replace("_", " "), _cell(Estimate(**e)))
    evidence = numbers["log_evidence"]
    parts.add_row(
        f"log-evidence of {evidence['num_images']} images, {evidence['num_samples']} samples",
        f"{_cell(Estimate(evidence['mean'], evidence['standard_error']))}, "
        f"{100 * evidence['unreliable']:.0f} % unreliable",
    )
    output.print(parts)
    print(f"results after {numbers['seconds']:.0f} s: {out}")


def _cell(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} ± {estimate.standard_error:.2f}"


if __name__ == "__main__":
    sys.exit(main())
