"""The README's commands are those of CI and a newcomer, and its program prints what it says."""

import re
from pathlib import Path

import pytest
from pages import assert_like, run_page

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = README.split("\n## ")[0]


def test_exactly_two_commands_before_the_first_heading():
    blocks = re.findall(r"```bash\n(.*?)```", FIRST_SCREEN, flags=re.DOTALL)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "experiments.mnist --prior uniform" in blocks[0]
    assert "pytest" in blocks[1]


def test_ci_runs_the_readmes_test_command():
    found = re.findall(r"^\[ -d \.venv \].*$", README, flags=re.MULTILINE)
    assert len(found) == 1
    assert r"^\[ -d \.venv \]" in (ROOT / ".ci" / "run").read_text()


def test_nothing_is_left_to_fill_in():
    assert "RESULTS" not in README
    assert "RUNTIME" not in README


def test_the_first_screen_has_one_picture_that_is_described():
    (picture,) = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    text, path = picture
    assert f"]({path})" in FIRST_SCREEN
    assert len(text.split()) > 10
    assert (ROOT / path).exists()


def test_links_lead_to_files_of_the_repository():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_quickstart_has_at_most_30_lines():
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert program.count("\n") <= 30


@pytest.mark.slow
def test_the_quickstart_prints_a_bracket_beside_the_exact_value():
    run_page(ROOT / "README.md")
    low, high, exact = (
        float(re.search(pattern, README)[1])
        for pattern in (r"([\d.]+) ± [\d.]+ <=", r"<= ([\d.]+) ±", r"exact: ([\d.]+)")
    )
    error = float(re.search(r"± ([\d.]+) <=", README)[1])
    assert low - 3 * error < exact < high + 3 * error


@pytest.mark.parametrize(
    ("printed", "same"),
    [("1.02 <= I", True), ("1.20 <= I", False), ("1.02 < I", False), ("1.02 <= I 3", False)],
)
def test_outputs_are_compared(printed, same):
    if same:
        assert_like(printed, "1.00 <= I", 0.05)
    else:
        with pytest.raises(AssertionError):
            assert_like(printed, "1.00 <= I", 0.05)
