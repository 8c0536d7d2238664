"""The reference of the command lines and the figures of first screens are what the code gives."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROGRAMS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/config.py"))


@pytest.fixture
def extensions(monkeypatch):
    """The folder of the extensions on the path, as when Sphinx builds."""
    monkeypatch.setattr(sys, "path", [str(DOCS / "_ext"), *sys.path])


def test_the_page_has_every_program():
    page = (DOCS / "reference/command-line.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^```\{command-line\} (\w+)$", page, re.MULTILINE)) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_of_the_help_has_a_row(program, extensions):
    command_lines = pytest.importorskip("command_lines")  # needs Sphinx
    text = command_lines.help_of(program)
    flags = set(re.findall(r"^│ (--[\w-]+)", text, re.MULTILINE))
    rows = [line for line in command_lines.markdown(program) if line.startswith("| `--")]
    assert len(flags) > 3
    assert {re.match(r"\| `(--[\w-]+)", row)[1] for row in rows} == flags
    assert all(row.count(" | ") == 3 and not row.endswith("|  |") for row in rows)


def test_values_and_defaults_have_columns(extensions):
    command_lines = pytest.importorskip("command_lines")
    rows = "\n".join(command_lines.markdown("information"))
    assert "| `--device` | `auto`, `cpu`, `cuda` | `auto` | auto takes a GPU" in rows
    assert "| `--num-samples` | `INT ...` | `1 10 100 1000 5000` | Numbers K of draws" in rows
    assert "| `--overwrite` |  |  | Replace the results" in rows
    assert "| `PATH` |  |  | Folder of a run" in rows


@pytest.mark.slow
def test_the_figures_of_the_first_screens_have_the_numbers_of_their_pages(extensions):
    import answers

    page = (DOCS / "findings/open-question.md").read_text(encoding="utf-8")
    (axes,) = answers.open_question().axes
    drawn = [text.get_text() for text in axes.texts]
    assert len(drawn) == 3
    for numbers in drawn[:2]:  # of sprites the page has the interval of 95 %
        assert numbers.replace("(", "(90 %: ") in page
    assert drawn[2].split()[0] in page
    (axes,) = answers.poster().axes
    marks = [line.get_ydata()[0] for line in axes.lines if line.get_marker() in "so"]
    assert len(marks) == 2 * 3 * 3
    scores, information = marks[6:12:2], marks[7:12:2]  # of 10 + 10 under the channel mean
    assert all(1.5 < s / i < 2 for s, i in zip(scores, information, strict=True))


@pytest.mark.slow
def test_the_published_tables_draw_the_figures_of_the_pages(extensions):
    """Those that `redraw.py` writes; what each shows is held by the tests of its function."""
    import redraw

    groups = (redraw.poster, redraw.information, redraw.infogan, redraw.costs)
    drawn = {name: figure for group in groups for name, figure in group().items()}
    assert drawn.keys() <= {path.stem for path in (DOCS / "figures").glob("*.png")}
    assert len(drawn) == 12
    columns = drawn["poster_information_columns"].axes[0]
    assert len(columns.get_yticks()) == 16
    last = drawn["information_lambda1"].axes[0].containers[-1]  # L_K of the refitted guide
    assert 6.5 < last.lines[0].get_ydata()[-2] < 8.5
