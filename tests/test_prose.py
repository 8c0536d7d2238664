"""The sentences of README and docs are short, and numbers stand in tables."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_WORDS, MOST_NUMBERS = 40, 4
# What a program writes: its text is held by the program's own tests.
GENERATED = ROOT / "docs" / "results"
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if GENERATED not in path.parents and "_build" not in path.parts
)

BLOCK = re.compile(r"^( *)(`{3,}|:{3,})(.*)\n(?:.*\n)*?\1\2 *$", re.MULTILINE)
PROSE_BLOCK = re.compile(r"\{(?:note|warning|tip|admonition|figure|grid-item-card)\}")
FORMULA = re.compile(r"^ *\$\$(?:.*\n)*?.*\$\$.*$", re.MULTILINE)
NOT_PROSE = re.compile(r"\s*(?:\||#|!\[|```|:::|:[\w-]+:|<|\[ -d|$)")
ITEM, NUMBERED = re.compile(r"\s*[-*>]\s+"), re.compile(r"\s*[1-9]\.\s+")
MARKUP = [
    (re.compile(r"\{[\w:]+\}`[^`]*`"), "NAME"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"`[^`]*`"), "CODE"),
    (re.compile(r"\$[^$]*\$"), "FORMULA"),
    (re.compile(r"\*\*?|__"), ""),
]
END = re.compile(r"(?<!\bal\.)(?<=[.!?:])[)\"*]*\s+(?=[\"(]?[A-Zλβχρ\d−-])")
# A year in brackets or after a name belongs to a reference.
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
NUMBER = re.compile(r"(?<![\w.])[−-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?!\w)")


def without_blocks(text):
    """A page without code, displayed formulas and lists of references."""
    text = text.split("\n## References")[0]
    while block := next((b for b in BLOCK.finditer(text) if not PROSE_BLOCK.match(b[3])), None):
        text = text[: block.start()] + "\n" + text[block.end() :]
    return FORMULA.sub("FORMULA", text)


def paragraphs(text):
    """The paragraphs and list items of a page, each as one line of words."""
    lines, numbered = [], False
    for line in [*without_blocks(text).splitlines(), ""]:
        ends = NOT_PROSE.match(line)
        # "1. " in the middle of a paragraph is the end of a sentence, wrapped.
        number = NUMBERED.match(line)
        numbered = numbered if lines else bool(number)
        item = ITEM.match(line) or (numbered and number)
        if (ends or item) and lines:
            yield " ".join(lines)
            lines = []
        if not ends:
            lines.append(line[item.end() :].strip() if item else line.strip())


def sentences(text):
    """The sentences of a page, with code, names and formulas as one word each."""
    for paragraph in paragraphs(text):
        for pattern, word in MARKUP:
            paragraph = pattern.sub(word, paragraph)
        yield from END.split(paragraph)


def count(sentence):
    """The words of a sentence and its numbers, the years of references left out."""
    words = re.findall(r"\w[\w'’.,-]*", sentence)
    return len(words), len(NUMBER.findall(YEAR.sub("", sentence)))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("One two. Three 4, .5 and −6.7 to 8,000.", [(2, 0), (7, 4)]),
        ("- First `a b c` and $x = 1$\n- [Second one](page.md)", [(4, 0), (2, 0)]),
        ("Of the first\n1. The second.\n\n1. Item\n2. Item two", [(4, 1), (2, 0), (1, 0), (2, 0)]),
        ("Wrapped\nlines are one.\n\n| a | 1 | 2 |\n", [(4, 0)]),
        ("Before.\n\n```python\nx = 1, 2, 3, 4, 5\n```\n\nAfter.", [(1, 0), (1, 0)]),
        ("```{note}\nOf a note.\n```", [(3, 0)]),
        ("Burda et al. 2016 say so.", [(6, 0)]),
    ],
)
def test_sentences_are_counted(text, counts):
    assert [count(sentence) for sentence in sentences(text)] == counts


@pytest.mark.parametrize("path", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_sentences_are_short_and_numbers_stand_in_tables(path):
    wrong = []
    for sentence in sentences(path.read_text(encoding="utf-8")):
        words, numbers = count(sentence)
        if words > MOST_WORDS or numbers > MOST_NUMBERS:
            wrong.append(f"{words} words, {numbers} numbers: {sentence}")
    assert not wrong, "\n".join(wrong)


PICTURE = re.compile(r"!\[([^\]]*)\]\(|```\{figure\}[^\n]*\n((?::[\w-]+:[^\n]*\n)*)")


@pytest.mark.parametrize("path", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_pictures_are_described(path):
    for text, options in PICTURE.findall(path.read_text(encoding="utf-8")):
        described = text or re.search(r":alt: (.*)", options)[1]
        assert len(described.split()) > 4, described


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.parent.name == "how-to"], ids=lambda path: path.stem
)
def test_how_to_pages_are_short(path):
    """850 words and 160 lines are about three screens of 1440 by 900 pixels."""
    text = path.read_text(encoding="utf-8")
    assert len(text.split()) <= 850, "move tables to reference, derivations to explanation"
    assert text.count("\n") <= 160, "move tables to reference, derivations to explanation"
