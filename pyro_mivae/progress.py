"""Progress of long loops: a bar on a terminal, and elsewhere a line every half minute.

All of it goes to the standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""
BAR = "{desc} {n_fmt}/{total_fmt} {unit} |{bar}| {remaining} left{postfix}"
DONE = "{desc} {n_fmt}/{total_fmt} {unit} |{bar}| took {elapsed}{postfix}"

_part: ContextVar[str] = ContextVar("part", default="")
_title: ContextVar[str] = ContextVar("title", default="")


class Progress:
    """The progress of one loop, as a context manager.

    Args:
        what: Words for what is done, for example ``"training"``.
        total: Number of units to do; None if :meth:`expect` says it.
        unit: Plural of what is counted, for example ``"steps"``.
        done: Number of units that were done before.
        shown: Whether to show anything.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, *, done: int = 0, shown: bool = True
    ) -> None:
        self.what, self.unit, self.done, self.shown = what, unit, done, shown
        self.total = 0
        self._first, self._text = done, ""
        self._bar: tqdm[Any] | None = None
        self._started = self._last = time.monotonic()
        if total is not None:
            self.expect(total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            if self.done >= self.total:
                self._bar.bar_format = DONE
            self._bar.close()

    def expect(self, total: int, what: str | None = None) -> None:
        """Sets how many units are to come in all, and what they are; a bar is shown from now on."""
        self.total = total
        self.what = _part.get() + (_title.get() or what or self.what)
        if self.shown and sys.stderr.isatty():
            self._bar = tqdm(
                desc=self.what,
                total=total,
                initial=self.done,
                unit=self.unit,
                bar_format=BAR,
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def update(self, count: int = 1) -> None:
        """Moves on by a number of units."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self.shown:
            self.tick()

    def note(self, text: str) -> None:
        """Sets the words at the end, for example the loss."""
        self._text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def write(self, text: str) -> None:
        """Writes a line of its own above the bar."""
        tqdm.write(text, file=sys.stderr)

    def tick(self) -> None:
        """Shows the time that went by, where the next unit takes long."""
        if self._bar is not None:
            self._bar.refresh()
        elif self.shown and self.total and time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            sys.stderr.write(f"{self.line()}\n")
            sys.stderr.flush()

    def line(self) -> str:
        """Says how far the loop is, in one line."""
        elapsed = time.monotonic() - self._started
        words = [f"{self.what}: {self.done} of {self.total} {self.unit} after {_time(elapsed)}"]
        if self.done - self._first > 0 and self.done < self.total:
            left = elapsed * (self.total - self.done) / (self.done - self._first)
            words.append(f"about {_time(left)} left")
        return ", ".join([*words, *([self._text] if self._text else [])])


@contextmanager
def part(number: int, total: int) -> Iterator[None]:
    """Marks what is shown inside the block as one of several parts of a program."""
    token = _part.set(f"{number}/{total} ")
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def titled(what: str) -> Iterator[None]:
    """Names what is shown inside the block, in the place of its own name."""
    token = _title.set(what)
    try:
        yield
    finally:
        _title.reset(token)


def _time(seconds: float) -> str:
    """Writes a duration as 0:01:23."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
