"""The README's commands are the ones that CI and a newcomer run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_exactly_two_commands_before_the_first_heading():
    first_screen = README.split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", first_screen, flags=re.DOTALL)
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
