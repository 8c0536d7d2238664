"""The code of the documentation runs, and its reference names what the library offers."""

import ast
import re
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
from pages import run_page

from pyro_mivae import infer, priors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = (
    *("datasets", "disentanglement", "distributions", "gan", "inference_data", "information"),
    *("morphometry", "plotting", "priors", "runs", "training", "vae", "vae.networks"),
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


SLOW = {
    *("get-started/tutorial.md", "how-to/own-model.md", "how-to/disentanglement.md"),
    *("how-to/generator.md", "explanation/which-information.md"),
}
SHORTER = {"get-started/tutorial.md": {"steps=1000": "steps=500", "steps=600": "steps=400"}}
# Pages whose programs are parts of a longer one, or need a run.
PARTS = {
    *("index.md", "findings/cost.md", "how-to/read-a-run.md"),
    *("how-to/several-processes.md", "explanation/objective.md"),
}
OF_OTHER_TESTS = {"how-to/lightning.md"}  # tests/training/test_lightning_page.py
# Pages whose program goes on from that of another one.
GOES_ON_FROM = {"how-to/test-a-prior.md": "how-to/add-a-prior.md"}


def pages():
    """The pages that have programs, by their path."""
    paths = (path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return {path.relative_to(DOCS).as_posix() for path in paths if "```python" in path.read_text()}


def test_every_page_with_a_program_is_looked_at():
    assert pages() >= SLOW | PARTS | OF_OTHER_TESTS


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
        for page in sorted(pages() - PARTS - OF_OTHER_TESTS)
    ],
)
def test_code_of_a_page_runs_and_prints_what_the_page_says(page, monkeypatch):
    monkeypatch.setattr(priors, "PRIORS", dict(priors.PRIORS))  # a page adds one
    names = run_page(DOCS / GOES_ON_FROM[page]) if page in GOES_ON_FROM else None
    run_page(DOCS / page, SHORTER.get(page), names=names)


@pytest.mark.parametrize("page", sorted(PARTS))
def test_pages_without_a_run_at_least_parse_and_import(page):
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
    text = (DOCS / "reference/messages.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    quoted += re.findall(r"`([^`]+)`", text[text.index("Two warnings:") :])
    assert len(quoted) > 15
    for words in quoted:
        words = " ".join(words.split())
        assert any(words in " ".join(text.split()) for text in messages()), words


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_every_page_has_a_title(path):
    """Without one the search shows "<no title>"."""
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(DOCS).parts
    if "results" in parts:  # included by pages of the appendix, and no page themselves
        assert '"results/*.md"' in (DOCS / "conf.py").read_text(encoding="utf-8")
    elif "_build" not in parts:
        assert text.startswith(("# ", "```{include} ../../CHANGELOG.md"))
