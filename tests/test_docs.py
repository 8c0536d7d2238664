"""The code of the documentation runs, and its reference names what the library offers."""

import ast
import json
import re
import runpy
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
from pages import run_notebook, run_page

from pyro_mivae import infer, priors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = (
    *("datasets", "disentanglement", "distributions", "gan", "inference_data", "information"),
    *("morphometry", "plotting", "priors", "runs", "training", "vae", "vae.networks"),
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


SLOW = {
    *("how-to/own-model.md", "how-to/disentanglement.md"),
    *("how-to/generator.md", "explanation/which-information.md"),
}
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
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
    run_page(DOCS / page, names=names)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_and_draws_what_it_stores(path):
    run_notebook(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_was_executed(path):
    """Cell after cell, without errors and warnings, and with descriptions of its pictures."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["language_info"]["name"]) == (4, "python")
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    outputs = [(output, cell) for cell in cells for output in cell["outputs"]]
    assert outputs
    for output, cell in outputs:
        assert output["output_type"] in ("stream", "display_data", "execute_result")
        assert output.get("name", "stdout") == "stdout"
        if "image/png" in output.get("data", {}):
            assert len(cell["metadata"]["alt"].split()) > 4


def test_a_notebook_becomes_a_page(monkeypatch, tmp_path):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from notebooks import to_markdown

    figure = {"image/png": "iVBORw0K\n", "text/plain": ["<Figure>"]}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]},
        {"output_type": "display_data", "data": figure},
        {"output_type": "execute_result", "data": {"text/plain": ["3"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "First."]},
        {
            **{"cell_type": "code", "source": ["%matplotlib inline\n", "x = 1\n", "x + 2"]},
            **{"metadata": {"alt": "A line that goes up"}, "outputs": outputs},
        },
    ]
    (tmp_path / "docs").mkdir()
    page = to_markdown({"cells": cells}, "page.ipynb", tmp_path, tmp_path / "docs")
    assert (tmp_path / "page-1.png").read_bytes() == b"\x89PNG\r\n"
    assert page == (
        "# Title\n\n{download}`This page as a notebook <page.ipynb>`\n\n\nFirst.\n\n"
        "```python\nx = 1\nx + 2\n```\n\n"
        "```{code-block} none\na\nb\n```\n\n"
        "```{image} ../page-1.png\n:alt: A line that goes up\n:width: 736px\n```\n\n"
        "```{code-block} none\n3\n```\n"
    )


@pytest.mark.parametrize("page", sorted(PARTS))
def test_pages_without_a_run_at_least_parse_and_import(page):
    for block in FENCE.finditer((DOCS / page).read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block.group(1))):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_pictures_are_shown_at_the_width_of_a_page_and_linked(monkeypatch):
    """Sphinx links a picture to its full size where the page gives it a width and no other link."""
    nodes = pytest.importorskip("docutils.nodes")
    pytest.importorskip("sphinx")
    document = nodes.container()
    plain, narrow = nodes.image(uri="a.png"), nodes.image(uri="b.png", width="100px")
    document += [plain, narrow]
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which the settings add
    conf = runpy.run_path(str(DOCS / "conf.py"))
    conf["_as_wide_as_pages"](None, document)
    assert (plain["width"], narrow["width"]) == ("736px", "100px")
    assert conf.get("html_scaled_image_link", True)


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
    quoted += re.findall(r"`([^`]+)`", text[text.index("Three warnings:") :])
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_a_title(path):
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    assert first["cell_type"] == "markdown"
    assert first["source"][0].startswith("# ")
