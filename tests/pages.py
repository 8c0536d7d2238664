"""The programs of the documentation: run from top to bottom, with what they print."""

import contextlib
import io
import math
import re
from pathlib import Path

PROGRAM = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def run_page(
    path: Path,
    shorter: dict[str, str] | None = None,
    *,
    names: dict | None = None,
    tolerance: float = 0.05,
) -> dict:
    """Runs the Python blocks of a page, and compares what they print with the text blocks.

    A text block is the output of the Python block before it. Numbers may differ by `tolerance`,
    and by as much of their size, because other processors round otherwise.

    Args:
        path: The page.
        shorter: Parts of the program to replace, by others that take less time.
        names: The names that an earlier page has defined, where the program goes on from it.
        tolerance: How much numbers may differ.

    Returns:
        The names that the program has defined.
    """
    text = path.read_text(encoding="utf-8")
    for long, short in (shorter or {}).items():
        assert long in text
        text = text.replace(long, short)
    blocks = list(PROGRAM.finditer(text))
    assert text.count("```python") == sum(block.group(1) == "python" for block in blocks) > 0
    namespace = {**(names or {}), "__name__": path.name}
    printed: str | None = None
    for block in blocks:
        kind, body = block.groups()
        if kind == "python":
            # Empty lines in front: a traceback then shows the page's own lines.
            lines = "\n" * text.count("\n", 0, block.start(2))
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(lines + body, str(path), "exec"), namespace)
            printed = output.getvalue()
        elif printed is not None:  # before the first program a text shows what a command prints
            assert_like(printed, body, tolerance)
    return namespace


def assert_like(printed: str, shown: str, tolerance: float) -> None:
    """Compares texts whose numbers may differ a little."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    for ours, theirs in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        assert math.isclose(float(ours), float(theirs), rel_tol=tolerance, abs_tol=tolerance), shown
