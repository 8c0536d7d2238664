"""The checks of runs and cells, each at its bound."""

import math

import pytest
from simulated_table import row_of, study

from experiments.infogan_study.design.cells import INFOGAN, SECOND_LAW, Cell
from experiments.infogan_study.rows import cell_of
from experiments.infogan_study.rules.checks import (
    CHECKS,
    failed_cells,
    failures,
    follows,
    law_failures,
)
from experiments.infogan_study.rules.verdict import results

GAN, VAE = INFOGAN, Cell("vae", False, "gaussian", "learnt")
BOTH = Cell("vae", True, "uniform", "infogan")
LEARNT = Cell("gan", True, "gaussian", "learnt", SECOND_LAW)


@pytest.mark.parametrize(
    ("cell", "column", "bound", "below"),
    [
        (GAN, "unmeasured", 0.01, True),
        (VAE, "unmeasured", 0.01, True),
        (GAN, "frechet", 80.0, True),
        (VAE, "frechet", 130.0, True),
        (GAN, "rarest", 0.01, False),
        (GAN, "bound/d", 2.0, False),
        (BOTH, "bound/d", 1.0, False),
        (GAN, "explained", 0.5, False),
        (VAE, "bound/c", 1.0, False),
        (LEARNT, "bound/c", 1.0, False),
        (VAE, "set_measured/thickness", 0.95, False),
        (GAN, "set_measured/slant", 0.95, False),
    ],
)
def test_a_run_passes_at_the_bound_and_fails_beyond(cell, column, bound, below):
    row = row_of(cell, 0, 1.0)
    assert failures(row) == []
    assert failures({**row, column: bound}) == []
    beyond = math.nextafter(bound, math.inf if below else -math.inf)
    assert len(failures({**row, column: beyond})) == 1
    assert len(failures({**row, column: None})) == 1


@pytest.mark.parametrize(
    ("cell", "column"),
    [(VAE, "bound/d"), (VAE, "explained"), (BOTH, "explained"), (GAN, "bound/c")],
)
def test_what_a_cell_is_not_about_is_not_checked(cell, column):
    assert failures({**row_of(cell, 0, 1.0), column: -9.0}) == []


def test_every_check_reads_a_column_of_a_run():
    columns = row_of(GAN, 0, 1.0)
    assert all(check.column in columns for check in CHECKS)


@pytest.mark.parametrize(
    ("failing", "runs", "fails"), [(1, 12, 0), (2, 12, 1), (2, 24, 0), (1, 10, 1)]
)
def test_eleven_of_twelve_runs_of_a_cell_have_to_pass(failing, runs, fails):
    rows = [row_of(GAN, s, 1.0, rarest=0.0 if s < failing else 0.05) for s in range(runs)]
    assert len(failed_cells(rows)) == fails


@pytest.mark.parametrize(("away", "fails"), [(3, 0), (4, 1)])
def test_nine_of_twelve_runs_have_to_follow_the_law_of_their_data(away, fails):
    rows = []
    for seed in range(12):
        row = row_of(LEARNT, seed, 1.0)
        assert follows(row, "slant")
        if seed < away:
            row[f"law/slant/{SECOND_LAW}"] = row["law/slant/D3"]  # as near to the other
        rows.append(row)
    assert len(law_failures(rows)) == fails
    assert failed_cells(rows) == {}


def test_laws_that_are_not_followed_make_the_posters_guess_void_alone():
    rows = study(0, spread=0.05)
    for row in rows:
        if cell_of(row) == GAN:
            row["law/thickness/D3"], row["law/thickness/D4"] = 0.06, 0.02
    void = {r.contrast.name: r.void for r in results(rows)}
    assert [name for name, reasons in void.items() if reasons] == ["the poster's guess"]
    assert void["the poster's guess"] == (f"{GAN.name}: thickness follows its law in 0 of 12 runs",)
    # Cells whose codes the guess does not compare are not asked.
    assert law_failures([{**r, "law/slant/D3": 1.0} for r in rows if r["term"] == "off"]) == {}
