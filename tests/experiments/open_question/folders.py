"""Folders of runs that nobody has trained, of one cell or of all cells of H1."""

import json

import numpy as np
from simulated import simulated

from experiments.open_question import rows as numbers
from experiments.open_question.design.cells import (
    Block,
    Cell,
)
from experiments.open_question.rules.h1 import judge_h1


def write(folder, cell, seeds, make):
    """The files of some seeds of a cell, ten to a run; `make` gives a seed's numbers."""
    for seed in seeds:
        first = seed // 10 * 10
        run = folder / f"{cell.name}-seeds{first}-{first + 9}"
        run.mkdir(parents=True, exist_ok=True)
        (run / f"seed{seed}.json").write_text(json.dumps(make(seed)))
        images = np.zeros((2, 3, 9, 28, 28), np.uint8)
        arrays = {"images": images, "measured": np.zeros((2, 3, 9, 3)), "values": np.zeros((2, 9))}
        np.savez(run / f"seed{seed}.npz", **arrays)


PAIRS = (("D3", "D4"), ("D1", "D2"), ("D6a", "D6b"))


def study(folder, *, effect, follows=True, seeds=12, **checks):
    """All cells of H1: T carries `effect` more of T where its law is uniform, on top of noise."""
    rng = np.random.default_rng(1)
    for pair in PAIRS:
        for arm in ("T", "G"):
            for place, data in enumerate(pair):
                more = effect if (arm, place) == ("T", 0) else 0.0
                # What a seed or a data set does to all is no interaction.
                noise = rng.normal(0, 0.02, seeds) + 0.1 * place + np.linspace(-0.2, 0.2, seeds)
                uniform = ("thickness", "slant")[place]

                def make(seed, more=more, noise=noise, uniform=uniform):
                    top = uniform if follows else "label"
                    value = float(0.4 + more + noise[seed])
                    return simulated(seed, thickness=value, leading=top, **checks)

                write(folder, Cell(arm, data), range(seeds), make)
    return [
        Block(name, tuple(Cell(arm, data) for arm in ("T", "G") for data in pair), seeds)
        for name, pair in zip(("confirmatory", "resampled", "sprites"), PAIRS, strict=True)
    ]


def judged(folder, every):
    rows = numbers.read_rows(every, folder)
    return rows, judge_h1(every, rows)
