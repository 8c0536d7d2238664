"""The code of the documentation runs, and its reference names what the library offers."""

import ast
import re
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

from pyro_mivae import infer, priors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = (
    *("datasets", "disentanglement", "distributions", "gan", "inference_data", "information"),
    *("morphometry", "plotting", "priors", "runs", "training", "vae", "vae.networks"),
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PAGES = [
    pytest.param("how-to/own-model.md", marks=pytest.mark.slow),
    "how-to/add-a-prior.md",
    "how-to/priors.md",
    pytest.param("explanation/which-information.md", marks=pytest.mark.slow),
    "explanation/adversarial.md",
    pytest.param("how-to/disentanglement.md", marks=pytest.mark.slow),
    "findings/open-question.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs(page, monkeypatch):
    monkeypatch.setattr(priors, "PRIORS", dict(priors.PRIORS))  # a page adds one
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    blocks = list(FENCE.finditer(text))
    assert text.count("```python") == len(blocks) > 0
    namespace = {"__name__": page}
    for block in blocks:
        # Empty lines in front: a traceback then shows the page's own lines.
        lines = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(lines + block.group(1), str(path), "exec"), namespace)


def test_pages_without_a_run_at_least_parse_and_import():
    for page in ("index.md", "how-to/running.md"):
        for block in FENCE.finditer((DOCS / page).read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(block.group(1))):
                if isinstance(node, ast.ImportFrom):
                    module = import_module(node.module)
                    assert all(hasattr(module, alias.name) for alias in node.names)


def reference():
    pages = sorted((DOCS / "reference/api").glob("*.md"))
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", infer.__all__)
def test_every_name_of_infer_has_an_entry(name):
    assert re.search(rf"^\.\. [\w:]+:: pyro_mivae\.infer\.{name}$", reference(), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_has_an_entry(module):
    name = f"pyro_mivae.{module}"
    assert re.search(rf"^\.\. automodule:: {name}$", reference(), re.MULTILINE)
    for exported in getattr(import_module(name), "__all__", ()):
        # autodoc leaves out what has no docstring, type aliases for example: by hand, then.
        found = getattr(import_module(name), exported)
        by_itself = isinstance(found, type | FunctionType) or not callable(found)
        assert by_itself or f":: {name}.{exported}" in reference(), exported


def messages():
    """The parts between the placeholders of every text of the rooms that an ELBO runs through."""
    for room in ("infer", "traces"):
        for path in (ROOT / "pyro_mivae" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_messages_that_a_page_explains_are_the_librarys():
    text = (DOCS / "how-to/own-model.md").read_text(encoding="utf-8")
    text = text[text.index("## What the errors mean") :]
    quoted = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    quoted += re.findall(r"`([^`]+)`", text[text.index("Two warnings:") :])
    assert len(quoted) > 15
    for words in quoted:
        words = " ".join(words.split())
        assert any(words in " ".join(text.split()) for text in messages()), words
