"""The measurement of a run from both sides.

Its command line is in :mod:`experiments.information.config`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from rich.table import Table

from experiments.command_line import (
    command,
    console,
    errors_only,
    plain,
    say,
)
from experiments.information.config import CHECKS, Config, parse
from experiments.information.measurements import Sizes, last, measure
from experiments.measured_run import measure_run
from experiments.mnist.config import read_settings
from experiments.mnist.metrics import summary
from experiments.mnist.model import load
from experiments.run_data import check_same_data, data_of
from pyro_mivae import plotting, runs
from pyro_mivae.datasets import load_digits
from pyro_mivae.information import Estimate, elbo_decomposition, log_evidence
from pyro_mivae.plotting.saving import save
from pyro_mivae.progress import part
from pyro_mivae.runs import groups
from pyro_mivae.training import make_fabric
from pyro_mivae.training.checkpoints import load_checkpoint

APART = 0.1
"""Nats between the bounds, less two standard errors, from which on they count as apart."""
NUMBERS, CURVES = "information.json", "information.nc"


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    config = parse(arguments)
    return measure_run("information", config, CHECKS, NUMBERS, _shorten, run)


def _shorten(config: Config) -> Config:
    return dataclasses.replace(
        config,
        num_samples=(1, 5, 20),
        images=20,
        num_data=(50, 200),
        refit_steps=min(20, config.refit_steps),
        evidence_images=10,
    )


@errors_only("pyro_mivae.information")
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
    step = load_checkpoint(folder)["step"]
    started = time.monotonic()
    sizes = Sizes(
        num_samples=sorted(set(config.num_samples)),
        images=config.images,
        num_data=sorted({min(n, len(images)) for n in config.num_data}),
        refit_steps=config.refit_steps,
        refit_samples=config.refit_samples,
    )
    curves = measure(vae, images, digits.train.images, sizes, seed=config.seed)
    pair = vae.model, vae.guide
    same: dict[str, Any] = {"prepare": vae.observe, "seed": config.seed}
    with part(sizes.parts - 1, sizes.parts):
        parts = elbo_decomposition(*pair, images[: config.decomposition_images], **same)
    with part(sizes.parts, sizes.parts):
        first, number = images[: config.evidence_images], max(config.num_samples)
        evidence = log_evidence(*pair, first, num_samples=number, **same)
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
        "step": step,
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
    say(sentences(curves))
    print(f"results after {numbers['seconds']:.0f} s: {out}")
    settings = read_settings(Path(numbers["run"]))
    again = ["--mi-weights", "0", plain(settings.objective.mi_weight or 1.0)]
    again += ["--priors", settings.model.prior, "--channels", settings.objective.channel]
    print(f"next: what the term changes, over seeds\n  {command('sweep', again)}")


def sentences(curves: xr.Dataset) -> list[str]:
    """Tells how much information the codes carry, and which number to trust."""
    guide = str(curves["guide"].values[-1])
    lines, apart = [], []
    for code in map(str, curves["codes"].values):
        lower, upper = (last(curves, side, guide, code) for side in ("lower", "upper"))
        ends = lower.interval()[0], upper.interval()[1]
        lines.append(f"I({code}; x') lies between {ends[0]:.2f} and {ends[1]:.2f} nats (95 %).")
        errors = math.hypot(lower.standard_error, upper.standard_error)
        if upper.mean - lower.mean - 2 * errors > APART:
            apart.append(code)
    lines.append(
        f"Trust these, by the {guide} guide. The score is no bound; I_q is of the data, another "
        "quantity."
    )
    if apart:
        lines.append(
            f"Of {' and of '.join(apart)} the bounds are over {APART:g} nats apart, and the truth "
            "may be anywhere between: raise --refit-steps, then --num-samples."
        )
    return lines


def _cell(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} ± {estimate.standard_error:.2f}"


if __name__ == "__main__":
    sys.exit(main())
