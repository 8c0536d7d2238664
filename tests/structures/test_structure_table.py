"""The table of structures in the documentation has the settings that the tests use."""

import re
from pathlib import Path

from structure_models import STRUCTURES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_has_the_settings_of_the_tests():
    text = (DOCS / "reference/structures.md").read_text(encoding="utf-8")
    lines = text.split("\n## ")[0].splitlines()
    rows = [re.split(r"\s+\|\s+", line.strip("| ")) for line in lines if line.startswith("|")]
    assert all(len(row) == 7 and row[-1].endswith(".") for row in rows[2:])
    assert [row[:6] for row in rows[2:]] == [structure.written() for structure in STRUCTURES]


def test_the_index_names_the_page():
    assert "\nstructures\n" in (DOCS / "reference/index.md").read_text(encoding="utf-8")
