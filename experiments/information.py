"""Say how much information the codes of a trained run carry, from both sides.

Leaves a table, its numbers, and figures of how the bounds close.

    python -m experiments.information runs/mnist-uniform-straight-through-20260101-120000
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
import xarray as xr
from rich.console import Console
from rich.table import Table

from experiments import mnist
from experiments._config import read_settings
from pyro_mivae import groups, plotting, runs
from pyro_mivae.checkpoints import CheckpointError, load_checkpoint
from pyro_mivae.datasets import load_digits
from pyro_mivae.information import (
    Estimate,
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    sandwich,
)
from pyro_mivae.plotting.drawing import save
from pyro_mivae.training import make_fabric
from pyro_mivae.vae import MIVAE

NUMBERS, CURVES = "information.json", "information.nc"


@dataclass(frozen=True)
class Config:
    """What is measured."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of a run of experiments.mnist; left out with --smoke, which trains one."""
    num_samples: tuple[int, ...] = (1, 10, 100, 1000, 5000)
    """Numbers K of draws at which the bounds under the model are noted."""
    images: int = 200
    """Generated images x' that the bounds under the model are averaged over."""
    num_data: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    """Numbers N of test images for the information under the data."""
    evidence_images: int = 100
    """Test images for the log-evidence, with the largest K."""
    data_dir: Path | None = None
    """Folder with MNIST/raw/*, as in experiments.mnist."""
    seed: int = 0
    """Of all draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder of the results; by default RUN/information."""
    overwrite: bool = False
    """Replace the results that are there."""
    smoke: bool = False
    """Seconds: few draws, few images."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiment; returns the program's exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # What the measurements warn of stands in the table.
    logging.getLogger("pyro_mivae.information").setLevel(logging.ERROR)
    config = tyro.cli(
        Config,
        args=sys.argv[1:] if arguments is None else arguments,
        prog="python -m experiments.information",
        description=__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    try:
        if config.smoke:
            config = _smoke(config)
        if config.run is None:
            raise ValueError("name the folder of a run (or --smoke for a trial)")
        out = config.out or config.run / "information"
        if (out / NUMBERS).exists() and not config.overwrite:
            raise FileExistsError(f"{out} holds results: choose another --out or --overwrite them")
        run(config, config.run, out)
    except (ValueError, OSError, RuntimeError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _smoke(config: Config) -> Config:
    folder = config.run
    if folder is None:
        folder = (config.out or Path("runs") / f"smoke-{time.strftime('%Y%m%d-%H%M%S')}") / "mnist"
        again = ["--overwrite"] if config.overwrite else []
        if mnist.main(["--smoke", "--out", str(folder), *again]):
            raise RuntimeError(f"no run could be trained in {folder}")
    return dataclasses.replace(
        config,
        run=folder,
        num_samples=(1, 5, 20),
        images=20,
        num_data=(50, 200),
        evidence_images=10,
    )


def load(folder: Path, device: torch.device) -> MIVAE:
    """The trained model of a run's folder."""
    vae, _ = mnist.build(read_settings(folder))
    vae.load_state_dict(load_checkpoint(folder)["objective"])
    return vae.to(device)


def run(config: Config, folder: Path, out: Path) -> None:
    """Measures the run in `folder` and writes into `out`."""
    settings = read_settings(folder)
    digits = load_digits(settings.data.data, data_dir=config.data_dir or settings.data.data_dir)
    mnist.check_same_data(folder, digits)
    device = make_fabric(config.device).device
    vae, images = load(folder, device), digits.to(device).test.images
    started = time.monotonic()
    curves = measure(config, vae, images)
    parts = elbo_decomposition(vae.model, vae.guide, images, prepare=vae.observe, seed=config.seed)
    evidence = log_evidence(
        vae.model,
        vae.guide,
        images[: config.evidence_images],
        num_samples=max(config.num_samples),
        prepare=vae.observe,
        seed=config.seed,
    )
    whole = {
        "elbo": parts.elbo,
        "log_likelihood": parts.log_likelihood,
        "kl": parts.kl,
        "information": parts.information.estimate,
        "marginal_kl": parts.marginal_kl,
        "total_correlation": parts.total_correlation,
        "log_evidence": evidence.estimate,
    }
    numbers = {
        "run": str(folder),
        "units": "nats per datum",
        "settings": dataclasses.asdict(config),
        "versions": runs.versions(),
        "commit": runs.commit(),
        "decomposition": {n: dataclasses.asdict(e) for n, e in whole.items() if e is not None},
        "dimension_kl": {n: v.tolist() for n, v in (parts.dimension_kl or {}).items()},
        "log_evidence": {
            "num_samples": evidence.num_samples,
            "num_images": len(evidence.per_datum),
            "effective_samples": float(evidence.effective_samples.median()),
            "unreliable": float(evidence.unreliable.double().mean()),
        },
        "codes": _by_code(curves),
        "seconds": time.monotonic() - started,
    }
    out.mkdir(parents=True, exist_ok=True)
    groups.write(xr.DataTree(curves), out / CURVES)
    runs.write_json(out / NUMBERS, numbers)
    save({"information_curves": plotting.information_curves(curves)}, out, settings_of=folder)
    _report(numbers, len(images), out)


def measure(config: Config, vae: MIVAE, images: torch.Tensor) -> xr.Dataset:
    """Bounds under the model and information under the data, of c, of z and of both."""
    counts = sorted(set(config.num_samples))
    num_data = sorted({min(n, len(images)) for n in config.num_data})
    found: dict[str, list[Any]] = {}

    def note(name: str, *estimates: Estimate) -> None:
        found.setdefault(name, []).append([e.mean for e in estimates])
        found.setdefault(f"{name}_se", []).append([e.standard_error for e in estimates])

    sites = list(vae.priors)
    codes = {site: [site] for site in sites} | ({", ".join(sites): sites} if sites[1:] else {})
    terms = mnist.evaluate_channels(vae, images)
    size = min(100, config.images)  # draws run in parallel where there are fewer data
    for names in codes.values():
        bounds = sandwich(
            vae.model,
            vae.guide,
            vae.observe(images[:size]),
            codes=names,
            num_samples=counts,
            num_dual_particles=-(-config.images // size),
            seed=config.seed,
        )
        _, lower, upper = zip(*bounds.curve(), strict=True)
        note("lower", *lower)
        note("upper", *upper)
        note("barber_agakov", bounds.barber_agakov)
        aggregate = [
            aggregate_information(
                vae.guide, images[:n], codes=names, prepare=vae.observe, seed=config.seed
            )
            for n in num_data
        ]
        note("aggregate_information", *(a.estimate for a in aggregate))
        for name, column in (("kl", "kl/{}"), ("score", "mi/{}/mean"), ("bound", "mi/{}/sample")):
            total = sum(terms[column.format(site)] for site in names)
            found.setdefault(name, []).append([total])
    dims = {"lower": "num_samples", "upper": "num_samples", "aggregate_information": "num_data"}
    variables = {}
    for name, rows in found.items():
        dim = dims.get(name.removesuffix("_se"))
        values = rows if dim else [row[0] for row in rows]
        axes = ("codes", dim) if dim else ("codes",)
        variables[name] = (axes, values, groups.NATS)
    coords = {"codes": list(codes), "num_samples": counts, "num_data": num_data}
    attrs = {"images": size * -(-config.images // size), "test_images": len(images)}
    return groups.make_group(variables, coords, **attrs)


def _by_code(curves: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {
        str(code): {
            str(name): values.values.tolist()
            for name, values in curves.sel(codes=code).data_vars.items()
        }
        for code in curves["codes"].values
    }


ROWS = {
    "score": "score, x' the mean (no bound)",
    "bound": "Barber-Agakov bound on I(.; x')",
    "lower": "I(.; x') at least (K = {k})",
    "upper": "I(.; x') at most (K = {k})",
    "aggregate_information": "I_q(.; x) of {n} data, at most log N = {limit:.2f}",
    "kl": "mean KL(q || p), at least I_q",
}


def _report(numbers: Mapping[str, Any], num_data: int, out: Path) -> None:
    settings, codes = numbers["settings"], numbers["codes"]
    limit = float(torch.tensor(float(num_data)).log())
    names = {"k": max(settings["num_samples"]), "n": num_data, "limit": limit}
    table = Table(title="Information, nats per image")
    table.add_column("")
    for code in codes:
        table.add_column(code, justify="right")
    for key, name in ROWS.items():
        cells = []
        for found in codes.values():
            value, error = found[key], found.get(f"{key}_se")
            value, error = (v[-1] if isinstance(v, list) else v for v in (value, error))
            cells.append(f"{value:.2f}" + ("" if error is None else f" ± {error:.2f}"))
        table.add_row(name.format(**names), *cells)
    console = Console()
    console.print(table)
    parts, evidence = numbers["decomposition"], numbers["log_evidence"]
    text = "  ".join(
        f"{name.replace('_', ' ')} {e['mean']:.2f} ± {e['standard_error']:.2f}"
        for name, e in itertools.islice(parts.items(), 7)
    )
    console.print(f"ELBO taken apart: {text}")
    console.print(
        f"log-evidence: {evidence['num_images']} images, {evidence['num_samples']} samples, "
        f"{100 * evidence['unreliable']:.0f} % unreliable; {numbers['seconds']:.0f} s in total"
    )
    print(f"results: {out}")


if __name__ == "__main__":
    sys.exit(main())
