"""InfoGAN with five seeds and in five forms, beside the VAE.

Its command line is in :mod:`experiments.infogan_seeds.config`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from experiments.command_line import check_settings, command, say, smoke_folder
from experiments.infogan_seeds import figures
from experiments.infogan_seeds.config import CHECKS, Config, parse
from experiments.infogan_seeds.report import REPORT, sentences, write_report
from experiments.infogan_seeds.trainings import FORMS, Form
from experiments.runner.run import Run
from experiments.runner.stages import chosen, run_stages
from experiments.tables import Row
from pyro_mivae.plotting.saving import save


def main(arguments: list[str] | None = None) -> int:
    """Runs the study; returns the program's exit code."""
    config = parse(arguments)
    folder, forms, scale = config.out or Path("runs") / "infogan_seeds", list(FORMS), "full"
    if config.smoke:
        folder, scale = smoke_folder(config.out), "smoke"
        forms = forms[:2]
        config = dataclasses.replace(config, workers=2, seeds=1)
    rows: list[Row] = []

    def report() -> Path | None:
        rows.extend(write_report(folder, config.seeds, config.docs))
        draw(rows, folder, config)
        return folder / REPORT if rows else None

    try:
        check_settings(config, CHECKS)
        todo = stages(chosen(forms, config.blocks), folder, config.seeds, scale)
        return run_stages(
            config,
            folder,
            todo,
            report,
            again=command("infogan_seeds", arguments),
            closing=lambda: say(sentences(rows)),
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def stages(forms: list[Form], folder: Path, seeds: int, scale: str) -> list[list[Run]]:
    """Sorts the runs: the trainings form by form, then the measurements of them all."""
    every = [(form, seed) for form in forms for seed in range(seeds)]
    return [
        [form.training(seed, scale) for form, seed in every],
        [form.measurement(seed, folder, scale) for form, seed in every],
    ]


def draw(rows: list[Row], folder: Path, config: Config) -> None:
    """Writes the figures into the study's folder, and those that are shown into the docs."""
    if not rows:
        return
    drawn = {"infogan_numbers": figures.numbers(rows)}
    for form in (form for form in FORMS if form.module == "experiments.infogan"):
        sheets = figures.traversals(form, folder, config.seeds)
        if sheets is not None:
            drawn[f"infogan_traversals_{form.name}"] = sheets
    save(drawn, folder)
    if config.docs is not None:
        shown = ("infogan_numbers", f"infogan_traversals_{FORMS[0].name}")
        save({name: drawn[name] for name in shown if name in drawn}, config.docs)


if __name__ == "__main__":
    sys.exit(main())
