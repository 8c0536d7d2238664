"""The directive ``command-line``: the flags of a program as tables, read from its ``--help``."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
from dataclasses import dataclass, field
from unittest.mock import patch

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = 100  # columns: narrow enough for tyro to put one box below the other
DEFAULT = re.compile(r" ?\((?:default: (?P<value>.*)|required)\)$")


@dataclass
class Flag:
    """A flag with what the help says of it."""

    name: str
    help: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Writes the flag as a row of a Markdown table: name, values, default, text."""
        name, _, values = self.name.partition(" ")
        if not name.startswith("-"):  # the folder that a program works on
            name, values = _metavar(self.name), ""
        text = " ".join(self.help)
        default = DEFAULT.search(text)
        text = DEFAULT.sub("", text)
        cells = [_code(name), _values(values), _code(_default(default)), _plain(text)]
        return "| " + " | ".join(cells) + " |"


@dataclass
class Box:
    """A group of flags: its title, its one sentence, and the flags."""

    title: str
    about: list[str] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)


def help_of(program: str) -> str:
    """Returns what ``python -m experiments.PROGRAM --help`` prints, in this process."""
    config = importlib.import_module(f"experiments.{program}.config")
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # without one tyro draws no boxes
    columns = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    with (
        patch.dict(os.environ, columns),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        config.parse(["--help"])
    printed.seek(0)
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.read())


def boxes(text: str) -> list[Box]:
    """Reads the boxes of a help text."""
    read: list[Box] = []
    for line in text.splitlines():
        if line.startswith("╭"):
            read.append(Box(line.strip("╭─╮ ")))
        elif line.startswith("│"):
            _read(read[-1], line.strip("│").removeprefix(" ").rstrip())
    return read


def _read(box: Box, line: str) -> None:
    """Adds a line of a box to its sentence or to a flag."""
    if re.match(r"-{1,2}\w", line) or (line and not box.flags and box.title.startswith("pos")):
        name, _, rest = line.partition("  ")
        box.flags.append(Flag(name, [rest.strip()] if rest.strip() else []))
    elif set(line) <= {"─"}:
        return
    elif not box.flags:
        box.about.append(line.strip())
    elif line.startswith(" "):
        box.flags[-1].help.append(line.strip())
    else:  # values that are too long for a line
        box.flags[-1].name += line.strip()


def _default(match: re.Match[str] | None) -> str:
    """The default that a help text ends with, or nothing."""
    value = match and match["value"]
    return value if value and value not in ("None", "False") else ""


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _values(text: str) -> str:
    """Choices one by one, so that a narrow column can break them."""
    if text.startswith("{") and text.endswith("}"):
        return ", ".join(
            _code(choice) for choice in text.strip("{}").split(",") if choice != "None"
        )
    return _code(_metavar(text))


def _metavar(text: str) -> str:
    """A placeholder as a reader writes it: ``[INT [INT ...]]`` is ``INT ...``."""
    return re.sub(r"^\[(\w+) \[\1 \.\.\.\]\]$", r"\1 ...", text.replace("{None}|", "")).strip("[]")


def _plain(text: str) -> str:
    """Help as Markdown that shows as it was written."""
    return re.sub(r"([*_<>\[\]|])", r"\\\1", text).replace("'", "&#x27;")


def markdown(program: str) -> list[str]:
    """Writes the help of a program as Markdown."""
    text = help_of(program)
    lines = [*(line.strip() for line in text.split("╭")[0].split("\n\n")[1].splitlines()), ""]
    for box in boxes(text):
        flags = [flag for flag in box.flags if flag.name != "-h, --help"]
        if not flags:
            continue
        about = " ".join(box.about)
        title = box.title.removesuffix(" options").capitalize()
        lines += [f"**{title}**" + (f": {_plain(about)}" if about else ""), ""]
        lines += ["| flag | values | default | what it sets |", "|---|---|---|---|"]
        lines += [*(flag.row() for flag in flags), ""]
    return lines


class CommandLine(SphinxDirective):
    """Shows the flags of a program of ``experiments``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parses the tables as Markdown of the page."""
        parent = nodes.section()
        self.state.nested_parse(
            StringList(markdown(self.arguments[0]), self.get_location()), 0, parent
        )
        return parent.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": False}
