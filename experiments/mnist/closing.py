"""The last lines of a run: what came out, which number to trust, and the next command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.command_line import command

NAMES = {"c": "code c", "d": "category d"}


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Tells what the measurements of a run are, and which of them to trust."""
    test, evidence = metrics["test"], metrics["log_evidence"]
    codes = [site for site in NAMES if f"mi/{site}/sample" in test]
    lines = []
    for site in codes:
        bound, score = test[f"mi/{site}/sample"], test[f"mi/{site}/mean"]
        if bound > 0:
            claim = f"The {NAMES[site]} carries at least {bound:.2f} nats about an image"
        else:
            claim = f"No information in the {NAMES[site]} is shown: the bound is {bound:.2f} nats"
        lines.append(
            f"{claim}. Trust this bound (x' drawn). The score {score:.2f} (x' the mean) is no "
            "bound: never report it alone."
        )
    about = f"{evidence['mean']:.2f} ± {evidence['standard_error']:.2f} nats"
    lines.append(f"The log-evidence of an image is {about}, the ELBO {test['elbo']:.2f}.")
    if evidence["unreliable"] > 0:
        lines.append(
            f"To compare models trust the ELBO: for {100 * evidence['unreliable']:.0f} % of the "
            "images the log-evidence has too few draws (more: --evidence-samples)."
        )
    else:
        lines.append("To compare models trust the log-evidence. Both are lower bounds.")
    return lines


def next_command(folder: Path) -> str:
    """Gives the command that says more of a run."""
    then = command("information", [str(folder)])
    return f"next: the information from both sides, known and not only bounded\n  {then}"
