"""The measurements of a trained VAE of the main experiment, and their table."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from rich.table import Table

from experiments import command_line
from experiments.command_line import say
from experiments.mnist.closing import next_command, sentences
from experiments.mnist.config import Config
from pyro_mivae.datasets import Split
from pyro_mivae.disentanglement.classes import ClassMatch, match_classes
from pyro_mivae.infer import Channel, TraceMI_ELBO
from pyro_mivae.information import LogEvidence, log_evidence, per_dimension
from pyro_mivae.information.by_dimension import as_lists
from pyro_mivae.progress import part
from pyro_mivae.runs.history import History, by_channel
from pyro_mivae.training import evaluate, evaluation
from pyro_mivae.vae import MIVAE

ABSURD = 1e6
"""Nats per image beyond which a number is no measurement."""
SITES = {"c": "code c", "z": "noise z", "d": "category d"}
PARTS = 3
"""Parts of a run, by which its progress bars are numbered: the training is the first."""
CHANNELS: tuple[Channel, ...] = ("mean", "sample")
"""The channels under which the mutual information is always reported."""


def evaluate_channels(vae: MIVAE, images: torch.Tensor) -> dict[str, float]:
    """Evaluates the terms in nats per datum, every site as code under both channels."""
    terms: dict[str, float] = {}
    for channel in CHANNELS:
        measured = evaluate(
            vae.model,
            vae.guide,
            TraceMI_ELBO(channel=channel),
            images,
            prepare=vae.observe,
        )
        terms.update(by_channel(measured, channel))
    terms["elbo"] = terms["log_likelihood"] - terms["kl"]
    return terms


def evaluate_loss(vae: MIVAE, elbo: TraceMI_ELBO, images: torch.Tensor) -> dict[str, float]:
    """Evaluates the same terms, and the training's loss with its own information, as ``mi``."""
    terms = evaluate_channels(vae, images)
    # The value of the drawing channels is one and the same; only their gradients differ.
    channel: Channel = "mean" if elbo.channel == "mean" else "sample"
    own = {f"mi/{site}": terms[f"mi/{site}/{channel}"] for site in vae.codes}
    own = {"mi": sum(own.values()), **own}
    if elbo.code_scale is not None:
        scored = TraceMI_ELBO(channel=channel, codes=vae.codes, code_scale=elbo.code_scale)
        scored_terms = evaluate(vae.model, vae.guide, scored, images, prepare=vae.observe)
        own = {name: scored_terms[name] for name in own}
    terms.update(own)
    mi_weight, kl_weight = elbo.weights()
    terms["loss"] = -terms["log_likelihood"] + kl_weight * terms["kl"] - mi_weight * own["mi"]
    return terms


def measure(
    config: Config, vae: MIVAE, elbo: TraceMI_ELBO, test: Split
) -> tuple[dict[str, Any], xr.Dataset]:
    """Measures everything on the test images, in nats per datum, and by dimension."""
    images, prepare = test.images, vae.observe
    terms = evaluate_loss(vae, elbo, images)
    with part(2, PARTS):
        dimensions = per_dimension(vae.model, vae.guide, images, channels=CHANNELS, prepare=prepare)
    with part(3, PARTS):
        evidence = log_evidence(
            vae.model,
            vae.guide,
            images[: config.output.evidence_images],
            num_samples=config.output.evidence_samples,
            prepare=prepare,
        )
    metrics = {
        "units": "nats per datum",
        "test": terms,
        "per_dimension": as_lists(dimensions),
        "not_measured": {
            name: text for name, text in dimensions.attrs.items() if "mi" in name.split("_")
        },
        "log_evidence": summary(evidence),
        "kl_estimators": kl_estimators(vae, images),
    }
    if "d" in vae.priors:
        metrics["categories"] = dataclasses.asdict(match(vae, test, seed=config.training.seed))
    return metrics, dimensions


def kl_estimators(vae: MIVAE, images: torch.Tensor) -> dict[str, str]:
    """Names how the KL of each site is computed."""
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.0)
    evaluate(vae.model, vae.guide, elbo, images[:10], prepare=vae.observe)
    return elbo.kl_estimators


def match(vae: MIVAE, test: Split, *, seed: int) -> ClassMatch:
    """Computes the class accuracy of the likeliest category."""
    categories = []
    with evaluation(vae, device=test.images.device, seed=seed):
        for part in torch.split(test.images, 1000):
            categories.append(vae.guide.encode(vae.observe(part))["d"].logits.argmax(-1))
    return match_classes(torch.cat(categories), test.labels, vae.priors["d"].dim)


def summary(evidence: LogEvidence) -> dict[str, float]:
    """Summarises a log-evidence as a run keeps it, with the share of unreliable images."""
    return {
        "mean": evidence.mean,
        "standard_error": evidence.standard_error,
        "num_samples": evidence.num_samples,
        "num_images": len(evidence.per_datum),
        "effective_samples": float(evidence.effective_samples.median()),
        "unreliable": float(evidence.unreliable.double().mean()),
    }


def implausible(history: History, terms: Mapping[str, float]) -> str:
    """Says why the numbers of a training can't be trusted; nothing if there is no reason."""
    for name, value in terms.items():
        if not abs(value) < ABSURD:
            return (
                f"{name} is {value:.3g} nats on the test images: expected less than {ABSURD:g} in "
                "size, as the training diverged; try a smaller --learning-rate"
            )
    _, losses = history.series("loss")
    if losses[-1] > losses[0]:
        return (
            f"the loss rose from {losses[0]:.4g} to {losses[-1]:.4g} in the training, which "
            "diverged: don't trust these numbers, and try a smaller --learning-rate"
        )
    return ""


def report(config: Config, metrics: Mapping[str, Any], folder: Path) -> None:
    """Prints the table of a run."""
    test, evidence = metrics["test"], metrics["log_evidence"]
    table = Table(title="On the test images, nats per image")
    table.add_column("")
    table.add_column("nats", justify="right")
    table.add_row("ELBO", f"{test['elbo']:.2f}")
    table.add_row(
        f"log-evidence ({evidence['num_samples']} samples, {evidence['num_images']} images)",
        f"{evidence['mean']:.2f} ± {evidence['standard_error']:.2f}",
    )
    if evidence["unreliable"] > 0:
        share = f"{100 * evidence['unreliable']:.0f} %"
        table.add_row("  of these with too few samples (Pareto k)", share)
    table.add_row("log-likelihood", f"{test['log_likelihood']:.2f}")
    for site in SITES:
        if f"kl/{site}" not in test:
            continue
        name = SITES[site]
        table.add_row(f"KL of the {name}", f"{test[f'kl/{site}']:.2f}")
        table.add_row(f"I({site}; x') bound, x' sampled", f"{test[f'mi/{site}/sample']:.2f}")
        table.add_row(f"I({site}; x') score, x' the mean", f"{test[f'mi/{site}/mean']:.2f}")
        if config.objective.code_scale is not None and site == "c":
            score = f"I(c; x') score of standard deviation {config.objective.code_scale:g}"
            table.add_row(score, f"{test['mi/c']:.2f}")
    if "categories" in metrics:
        accuracy = metrics["categories"]["accuracy"]
        table.add_row("class accuracy of the category (no nats)", f"{100 * accuracy:.1f} %")
    console = command_line.console()
    console.print(table)
    if "warning" in metrics:
        print(f"warning: {metrics['warning']}", file=sys.stderr)
    for site in SITES:
        if f"mi_{site}" in metrics["not_measured"]:
            console.print(f"{site} was not measured by dimension: see not_measured in metrics.json")
    seconds = metrics["seconds"]
    steps = f"{metrics['steps']['computed']} steps, " if "steps" in metrics else ""
    console.print(
        f"trained with channel {config.objective.channel}, lambda {config.objective.mi_weight:g}; "
        f"{steps}{seconds['training']:.0f} s training, {seconds['total']:.0f} s in total"
    )
    if "warning" not in metrics:
        say(sentences(metrics))
    print(f"run folder: {folder}")
    print(next_command(folder))
