"""The scores of a set of codes as a table to read."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

SCORES = {
    "mig": ("MIG", "one code is ahead, by factor"),
    "mig_within": ("MIG inside labels", "the same inside each label"),
    "modularity": ("modularity", "a code carries one factor only"),
    "dci_disentanglement": ("DCI disentanglement", "a code predicts one factor only"),
    "dci_completeness": ("DCI completeness", "a factor needs one code only"),
    "sap": ("SAP", "one code is ahead in predicting"),
    "factor_vae": ("FactorVAE score", "the steadiest code names the factor"),
    "beta_vae": ("beta-VAE score", "codes of pairs name the factor"),
}
"""Scores from 0 to 1 by variable: the name, and what is 1 if it holds."""


def summary(scores: xr.Dataset) -> str:
    """Writes the scores of :func:`~pyro_mivae.disentanglement.evaluate` in words.

    A table with a line for each score, its ceiling where it has one (what the factors themselves
    reach as codes), and what it measures; and below it a line for each factor: the code with most
    information about it, and how much of its entropy that is, in nats.

    Args:
        scores: Result of :func:`~pyro_mivae.disentanglement.evaluate`.

    Raises:
        ValueError: If `scores` are not its result.
    """
    if lacking := [name for name in ("mi", "entropy", "num_live", "mig") if name not in scores]:
        raise ValueError(
            f"scores: expected the result of disentanglement.evaluate, found none of {lacking}"
        )
    lines = [
        f"{int(scores['num_live'])} of {scores.sizes['code']} codes are live, "
        f"{scores.sizes['factor']} factors, {scores.attrs.get('num_points', '?')} points",
        f"{'':<20} {'score':>6} {'ceiling':>8}",
    ]
    for name, (label, meaning) in SCORES.items():
        if name in scores:
            top = _number(scores[f"{name}_ceiling"]) if f"{name}_ceiling" in scores else ""
            lines.append(f"{label:<20} {_number(scores[name]):>6} {top:>8}  {meaning}")
    lines.append("factor, the code that carries most about it, and nats of its entropy")
    for factor in scores["factor"].values:
        of_factor = scores["mi"].sel(factor=factor).values
        best = int(of_factor.argmax())
        entropy = float(scores["entropy"].sel(factor=factor))
        code = scores["code"].values[best]
        lines.append(f"{factor!s:<20} code {code}: {float(of_factor[best]):.2f} of {entropy:.2f}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    return "-" if math.isnan(float(value)) else f"{float(value):.2f}"
