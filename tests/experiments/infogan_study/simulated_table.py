"""Tables of InfoGAN's study that nobody has trained, with planted effects."""

import numpy as np

from experiments.infogan_study.design.cells import CELLS, FIRST_LAW, LAWS


def row_of(cell, seed, alignment, *, thickness=0.5, slant=0.5, **other):
    """A row of a run that passes all checks."""
    laws = {}
    for factor in ("thickness", "slant"):
        for name in ("D3", "D4", "D4-laplace"):
            laws[f"law/{factor}/{name}"] = 0.02 if name == cell.data else 0.06
    return {
        "run": cell.run_name(seed),
        "training": cell.training,
        "category": int(cell.category),
        "prior": cell.prior,
        "term": cell.term,
        "data": cell.data,
        "seed": seed,
        "steps": 7500 if cell.training == "gan" else 2500,
        "alignment": alignment,
        "amount": alignment + 0.2,
        "mig": 0.1,
        "I_T": thickness,
        "I_S": slant,
        "I_label": 0.1,
        "frechet": 50.0 if cell.training == "gan" else 100.0,
        "rarest": 0.05,
        "unmeasured": 0.0002,
        "explained": 0.9,
        "bound/c": 2.0,
        "bound/d": 2.25 if cell.category else None,
        "mi/d/label": 1.5 if cell.category else None,
        "set_measured/thickness": 0.97,
        "set_measured/slant": 0.99,
        "seconds/total": 100.0,
        **laws,
        **other,
    }


def study(seed=0, *, num_seeds=12, effect=lambda cell: 0.0, guess=0.0, spread=0.3, shared=0.2):
    """A whole table: effects of cells, a seed that moves GANs and VAEs, and noise of each run.

    Args:
        seed: Seed of the simulation.
        num_seeds: Seeds of each cell.
        effect: Nats of alignment that a cell has beyond 1.
        guess: Interaction of prior and law, in nats.
        spread: Standard deviation of a run.
        shared: Standard deviation of what a seed does to all runs of a training.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for run in range(num_seeds):
        moved = {"gan": shared * rng.normal(), "vae": shared * rng.normal()}
        for cell in CELLS:
            noise = rng.normal(size=3)
            alignment = 1 + effect(cell) + moved[cell.training] + spread * noise[0]
            matched = (cell.prior == "uniform") == (cell.data == FIRST_LAW) and cell in LAWS
            told = 0.5 + spread * noise[1], 0.5 + spread * noise[2]
            # The interaction of a difference of two means is twice what matching adds, halved.
            rows.append(
                row_of(
                    cell,
                    run,
                    alignment,
                    thickness=told[0] + guess / 2 * matched,
                    slant=told[1] - guess / 2 * matched,
                )
            )
    return rows
