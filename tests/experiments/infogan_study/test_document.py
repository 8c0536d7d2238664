"""The report: what is on its first screen, with nothing, with a part and with the whole table."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_table import row_of, study

from experiments.infogan_study.design.cells import (
    CELLS,
    FACTORIAL,
    INFOGAN,
    MENDED_SEED,
    PRE_CHECK_SEED,
    Cell,
)
from experiments.infogan_study.report.document import report, sentences, write_report
from experiments.infogan_study.report.figures import draw
from experiments.infogan_study.rows import ROWS, TABLE
from experiments.infogan_study.rules.verdict import results
from experiments.tables import write_table


def text_of(rows):
    return "\n\n".join(report(rows, results(rows)))


def test_the_first_screen_has_six_verdicts_a_figure_and_three_sentences():
    rows = study(1, effect=lambda c: 0.6 * (c.training == "gan"), spread=0.05, shared=0.02)
    text = text_of(rows)
    screen = text.partition("***Checks***")[0]
    lines = screen.splitlines()
    assert lines[0] == "**Which properties of InfoGAN lead to alignment?**"
    verdicts = [line for line in lines if line.startswith("| ") and line[2].isdigit()]
    assert len(verdicts) == 6
    assert verdicts[0].endswith("| leads to alignment |")
    assert verdicts[5].endswith(
        "| refuted (in this class of models): matters less than the margin |"
    )
    assert "(effects.png)" in screen
    told = sentences(rows)
    assert len(told) == 3
    assert told[0].startswith(
        "Verdicts on the properties: adversarial training: leads to alignment; the category and "
    )
    assert "is refuted (in this class of models): the interaction is" in told[1]
    assert told[2] == (
        "Trust the intervals over 12 seeds, not single runs; 0 of 384 runs fail a check."
    )
    assert " ".join(told) in screen
    assert len(lines) < 20
    for part in ("Two-way interactions", "InfoGAN's own cell", "Cells: means over seeds"):
        assert part in text
    assert "| rarest digit | at least 0.01 | 0.050 | 0 of 192 | at least 0.01 | 0.050 |" in text
    assert "Without the" not in text


def test_pandas_alone_computes_the_same_contrasts_from_the_table(tmp_path):
    rows = study(7, effect=lambda c: 0.3 * (c.term == "learnt") + 0.2 * c.category, guess=0.2)
    write_table(rows, tmp_path, TABLE)
    table = pd.read_csv(tmp_path / TABLE)
    first = table[table["data"] == "D3"]

    def effect(column, high, low):
        means = first.groupby(["seed", column])["alignment"].mean().unstack()
        return means[high] - means[low]

    both = table[(table["term"] != "off") & (table["category"] == (table["training"] == "gan"))]
    told = both[both["data"].isin(["D3", "D4"])]
    means = told.groupby(["seed", "prior", "data"])[["I_T", "I_S"]].mean()
    half = ((means["I_T"] - means["I_S"]) / 2).unstack(["prior", "data"])
    interaction = half["uniform", "D3"] - half["uniform", "D4"]
    interaction -= half["gaussian", "D3"] - half["gaussian", "D4"]
    known = [
        effect("training", "gan", "vae"),
        effect("category", 1, 0),
        effect("prior", "uniform", "gaussian"),
        effect("term", "infogan", "off"),
        effect("term", "learnt", "off"),
        interaction,
    ]
    judged = results(ROWS.read(tmp_path / TABLE))
    for result, values in zip(judged, known, strict=True):
        np.testing.assert_allclose(result.mean.values, values)
        assert result.mean.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_failing_runs_are_told_and_left_out_beside():
    rows = study(2, spread=0.05)
    for row in rows:
        if row["run"] in (INFOGAN.run_name(1), INFOGAN.run_name(2)):
            row["rarest"] = 0.0
    text = text_of(rows)
    assert "Without the 2 runs that fail a check" in text
    assert f"| {INFOGAN.name} | 2 of 12 runs fail (rarest digit) |" in text
    assert f"- the category is void: {INFOGAN.name}: 2 of 12 runs fail" in text
    assert "void (" in text.partition("***Checks***")[0]
    assert "2 of 384 runs fail a check" in text


def test_a_part_of_the_table_is_reported_without_a_verdict():
    rows = [row for row in study(0, num_seeds=3) if row["training"] == "gan"]
    text = text_of(rows)
    assert text.count("not judged yet") == 6
    assert "the table has 48 runs and 0 whole replicates" in text
    assert "effects" not in text
    assert "***" not in text
    assert draw(rows, results(rows)) == {}


def test_the_pre_check_has_a_table_and_the_candidates_for_the_second_law():
    cells = (*FACTORIAL, *(Cell("gan", True, "uniform", "learnt", d) for d in ("D4", "D4-laplace")))
    rows = [row_of(cell, PRE_CHECK_SEED, 0.3) for cell in cells]
    rows[0]["bound/d"] = 0.5
    text = text_of(rows).partition("***Pre-check***")[2]
    assert text.count(f"-seed{PRE_CHECK_SEED} |") == 26
    assert "category: bound, nats 0.50" in text
    laws = text.partition("distance of standardised factors")[2].splitlines()[4:]
    assert len(laws) == 8 + 2  # the cells of the guess, and the candidates for the second law
    follows = "| 0.020 | 0.060 | 0.060 | yes | 0.020 | 0.060 | 0.060 | yes |"
    assert laws[0] == f"| {INFOGAN.name} {follows}"
    assert laws[-1] == (
        "| gan-category-uniform-learnt-D4-laplace | 0.060 | 0.060 | 0.020 | yes "
        "| 0.060 | 0.060 | 0.020 | yes |"
    )
    mended = row_of(Cell("vae", True, "uniform", "off"), MENDED_SEED, 0.3)
    text = text_of([*rows, {**mended, "category_weight": 7.0}])
    again = text.partition("VAEs with a category, its term weighed by 7")[2]
    assert again.count(f"| vae-category-uniform-off-D3-seed{MENDED_SEED} |") == 1
    assert "Pre-check" not in text_of(study(0, num_seeds=2))


@pytest.mark.usefixtures("unrendered")
def test_figures_show_the_properties_with_margins_and_sheets_of_folders(tmp_path):
    rows = study(3, num_seeds=2)
    write_table(rows, tmp_path, TABLE)
    own = tmp_path / "study" / CELLS[0].run_name(0)
    own.mkdir(parents=True)
    np.savez(own / "traversals.npz", images=np.zeros((2, 9, 10, 28, 28), np.uint8))
    path = write_report(tmp_path / TABLE, tmp_path / "study", tmp_path / "docs")
    assert path.read_text().count("(figures/effects.png)") == 1
    assert (
        "(../figures/infogan_study_effects.png)"
        in (tmp_path / "docs" / "results" / "infogan_study.md").read_text()
    )
    names = [
        {file.name for file in (tmp_path / name / "figures").glob("*.png")}
        for name in ("study", "docs")
    ]
    sheets = {f"sheet_{CELLS[0].name}_c{k}.png" for k in (0, 1)}
    assert names == [{"effects.png", *sheets}, {"infogan_study_effects.png"}]
    (axes,) = draw(rows, results(rows))["effects"].axes
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == [result.contrast.name for result in results(rows)]
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == [0.5, *[0.2] * 5]
    assert write_report(tmp_path / "none.csv", tmp_path) is None
