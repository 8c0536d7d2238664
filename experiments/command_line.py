"""The command line of the programs: settings from arguments, arguments from settings.

Neither this nor a program's ``config`` loads torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

Settings = TypeVar("Settings")
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A setting that a flag turns on, and none turns off; a plain bool has ``--no-...``, too."""


def start(name: str) -> int:
    """Starts a program of `experiments`; help and wrong flags are answered before torch loads.

    Returns:
        The program's exit code.
    """
    importlib.import_module(f"experiments.{name}.config").parse(sys.argv[1:])
    code: int = importlib.import_module(f"experiments.{name}.program").main()
    return code


def parse(
    kind: type[Settings], name: str, description: str | None, arguments: Sequence[str] | None
) -> Settings:
    """Parses a command line into settings.

    Args:
        kind: Dataclass of the settings.
        name: Name of the program in `experiments`.
        description: Docstring of the program.
        arguments: Words of the command line; None for those of this process.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return tyro.cli(
        kind,
        args=sys.argv[1:] if arguments is None else arguments,
        prog=f"python -m experiments.{name}",
        description=description,
    )


def command(name: str, arguments: Sequence[str] | None = None) -> str:
    """Writes the command of a program, to be typed again; None for this process's arguments."""
    words = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"experiments.{name}", *words])


def say(sentences: Iterable[str]) -> None:
    """Prints sentences, each from a new line on, in lines of at most 80 characters."""
    for sentence in sentences:
        print(textwrap.fill(sentence, 80, break_long_words=False, break_on_hyphens=False))


def smoke_folder(out: Path | None) -> Path:
    """Returns the folder of a smoke run: `out`, or one of its own."""
    return out or Path("runs") / f"smoke-{time.strftime('%Y%m%d-%H%M%S')}"


def plain(value: object) -> str:
    """Writes a setting as a word: whole numbers without ``.0``."""
    return str(value).removesuffix(".0")


def as_arguments(flags: Mapping[str, object]) -> tuple[str, ...]:
    """Writes flags, by name without ``--``, as the words of a command line."""
    return tuple(word for flag, value in flags.items() for word in (f"--{flag}", plain(value)))


@contextmanager
def errors_only(name: str) -> Iterator[None]:
    """Keeps back a logger's warnings, where a program's tables hold what they say."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
