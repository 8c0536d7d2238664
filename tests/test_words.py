"""The words of the code: first lines of docstrings, texts of arguments, names of variables."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyro_mivae"
# Names that do not say what a variable holds.
BANNED = {"found", "some", "made", "there", "whole", "told"}
# First words that end in "s" and are no verbs in the third person.
NO_VERBS = {
    *("Always", "Arguments", "Arrays", "As", "Axes", "Bases", "Bits", "Categories", "Classes"),
    *("Codes", "Columns", "Data", "Densities", "Dimensions", "Distributions", "Errors", "Factors"),
    *("Gradients", "Graphs", "Groups", "Images", "Its", "Kinds", "Latents", "Laws", "Less"),
    *("Likelihoods", "Logarithms", "Logits", "Moments", "Nats", "Numbers", "Pairs", "Parameters"),
    *("Perhaps", "Permutations", "Pixels", "Plus", "Points", "Posteriors", "Priors", "Quantiles"),
    *("Rows", "Runs'", "Samples'", "Seconds", "Shares", "Sites", "Steps", "Terms", "This", "Thus"),
    *("Tensors", "Traces", "Unless", "Values", "Weights", "Words"),
}
# Codes carry information about a factor, a classifier predicts a class.
INVERTED = re.compile(
    r"\btells? (?:\w+ )?of\b|\btells? (?:most|more|rightly|nothing|at least|at most|digits)\b"
    r"|\btold rightly\b|\bcodes? tells?\b|\bthat tells\b|\b(?:has|have|had) of\b"
    r"|\basks? (?:\w+ ){1,3}for\b"
)
# "Draws of the posterior" has a noun for its first word, "Draws from the posterior" a verb.
NOUN_IS_FOLLOWED_BY = {"of", "that", "in", "with", "are", "is"}


FILES = sorted(
    path
    for folder in (PACKAGE, ROOT / "experiments", ROOT / "benchmarks")
    for path in folder.rglob("*.py")
)
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if "_build" not in path.parts
)
each_file = pytest.mark.parametrize(
    "path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES]
)


def begins_with_a_verb(line):
    """Whether a line begins like "Bounds the information"."""
    first, *rest = line.rstrip(".").split() or [""]
    if not re.fullmatch(r"[A-Z][a-z-]*s", first) or first in NO_VERBS:
        return False
    return not rest or rest[0].strip(".,:;") not in NOUN_IS_FOLLOWED_BY


def is_property(node):
    """Also a ``cached_property`` and torch's ``dependent_property(...)``."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def documented(tree, prefix=""):
    """Public functions, methods and classes with a docstring: name, node, its text."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if text := ast.get_docstring(node):
            yield prefix + node.name, node, text
        if isinstance(node, ast.ClassDef):
            yield from documented(node, f"{node.name}.")


def argument_texts(docstring):
    """Names and texts of what a docstring lists under "Args:" and "Attributes:"."""
    for section in re.split(r"^(?=\w[\w ]*:$)", docstring, flags=re.MULTILINE):
        if section.startswith(("Args:", "Attributes:")):
            yield from re.findall(r"^ {4}(\*{0,2}\w[\w, ]*): +(\S.*)$", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("Bounds the information from both sides.", True),
        ("Draws a grid of images.", True),
        ("Draws.", True),
        ("Draws of shape (N,).", False),
        ("Whether a code is live.", False),
        ("The mean of c.", False),
        ("Codes, shape ``(N, codes)``.", False),
        ("Those that separate the KL.", False),
        ("", False),
    ],
)
def test_what_counts_as_a_verb(line, verb):
    assert begins_with_a_verb(line) is verb


def test_arguments_are_read():
    docstring = (
        "Does it.\n\nArgs:\n    seed: Of the draws\n        and more: this.\n    a, b: Two.\n"
    )
    assert list(argument_texts(docstring)) == [("seed", "Of the draws"), ("a, b", "Two.")]


@each_file
def test_first_lines(path):
    """A function's is a verb and its object; a class's and a property's is a noun."""
    wrong = []
    for name, node, text in documented(ast.parse(path.read_text(encoding="utf-8"))):
        line = text.splitlines()[0]
        noun = isinstance(node, ast.ClassDef) or is_property(node)
        if begins_with_a_verb(line) is noun:
            wrong.append(f"{name}: {line}")
    assert not wrong, "\n".join(wrong)


@each_file
def test_texts_of_arguments_have_a_subject(path):
    wrong = [
        f"{name}, {argument}: {text}"
        for name, _, docstring in documented(ast.parse(path.read_text(encoding="utf-8")))
        for argument, text in argument_texts(docstring)
        if text.startswith("Of ")
    ]
    assert not wrong, "\n".join(wrong)


def texts(path):
    """A page, or the docstrings and messages of a module, each in one line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [" ".join(text.split())]
    constants = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    return [" ".join(node.value.split()) for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Measures what codes tell of factors.", "codes tell"),
        ("The most that a block has of a cell.", "has of"),
        ("What a step asks an ELBO for.", "asks an ELBO for"),
        ("The network that tells digits.", "that tells"),
        ("Tells whether a code is live. The rule asks for more seeds.", None),
    ],
)
def test_what_counts_as_inverted(text, phrase):
    match = INVERTED.search(text)
    assert (match and match.group()) == phrase


@pytest.mark.parametrize(
    "path", [*FILES, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_phrases_are_in_standard_order(path):
    wrong = [m.group() for text in texts(path) for m in INVERTED.finditer(text)]
    assert not wrong, f"{wrong}: say what carries information about what, or what predicts what"


@each_file
def test_variables_say_what_they_hold(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    stored = [n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names = [(n.id, n.lineno) for n in stored]
    names += [(n.arg, n.lineno) for n in nodes if isinstance(n, ast.arg)]
    wrong = [f"line {line}: {name}" for name, line in names if name in BANNED]
    assert not wrong, "\n".join(wrong)
