"""The command line of the programs: settings from arguments, arguments from settings.

Neither this nor a program's ``config`` loads torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro
from rich.console import Console

from pyro_mivae.checks import Check, check_choice, check_flag

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


def check_settings(settings: object, checks: Mapping[str, Check], place: str = "") -> None:
    """Looks at the settings of a dataclass under the names of their flags.

    Args:
        settings: Dataclass of the settings.
        checks: Checks by the names of its fields.
        place: File that the settings are from, for the error; none for the command line.

    Raises:
        ValueError: If one does not fit.
    """
    by_type = {name: _check_of(hint) for name, hint in get_type_hints(type(settings)).items()}
    for name, check in {**by_type, **checks}.items():
        flag = f"--{name.replace('_', '-')}"
        try:
            check(flag, getattr(settings, name))
        except ValueError as error:
            where = f"{place}, {name}: " if place else ""
            raise ValueError(f"{where}{error}") from None


def check_folder(name: str, path: Path | None) -> Path | None:
    """Returns a path that can be that of a folder, or None."""
    if path is not None and path.exists() and not path.is_dir():
        raise ValueError(f"{name} must be a folder, found the file {path}")
    return path


def _check_of(hint: Any) -> Check:
    """The check of a type: one of a Literal's values, True or False; anything else passes."""
    if hint is bool:
        return check_flag
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices: list[Any] = []
    for kind in kinds:
        if kind is not NoneType and get_origin(kind) is not Literal:
            return lambda name, value: value
        choices += [None] if kind is NoneType else get_args(kind)
    return partial(check_choice, choices=choices)


def console() -> Console:
    """Makes a console that shows text as it is, brackets in names included."""
    return Console(markup=False, emoji=False)


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM came.

    Attributes:
        signal: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


@contextmanager
def stopping() -> Iterator[None]:
    """Makes SIGINT and SIGTERM a :class:`Stopped`, once; a second SIGINT interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        # SIGTERM may come twice: `timeout` and Slurm signal the process and its group.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise Stopped(number)

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


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
