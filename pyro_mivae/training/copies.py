"""Copies of programs, with the modules that their functions hold."""

from __future__ import annotations

import copy
import types
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pyro_mivae.isolation import functions_of, names_of_globals, roots_of


def copy_programs(programs: Sequence[Any]) -> tuple[Any, ...]:
    """Copies programs together with all modules that they can reach, each once.

    ``copy.deepcopy`` leaves functions as they are, and with them the modules in their closures,
    defaults and global variables. Here a function becomes another one, which has the copies. What
    holds no module is shared with the original.

    Args:
        programs: Models, guides, or other programs; what they share their copies share, too.
    """
    functions = functions_of(programs)
    memo: dict[int, Any] = {id(f): _shell(f) for f in functions}
    for function in functions:
        shell = memo[id(function)]
        cells = zip(function.__closure__ or (), shell.__closure__ or (), strict=True)
        for cell, new in cells:
            try:
                new.cell_contents = _copied(cell.cell_contents, memo)
            except ValueError:  # not filled yet
                continue
        for name in names_of_globals(function.__code__):
            if name in function.__globals__:
                shell.__globals__[name] = _copied(function.__globals__[name], memo)
        if function.__defaults__:
            shell.__defaults__ = tuple(_copied(value, memo) for value in function.__defaults__)
        for table in ("__kwdefaults__", "__dict__"):
            values = getattr(function, table) or {}
            setattr(shell, table, {name: _copied(value, memo) for name, value in values.items()})
    return copy.deepcopy(tuple(programs), memo)


def _shell(function: types.FunctionType) -> types.FunctionType:
    """A function of the same code, with cells and global variables of its own."""
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    shell = types.FunctionType(
        function.__code__, dict(function.__globals__), function.__name__, None, cells or None
    )
    shell.__qualname__, shell.__module__ = function.__qualname__, function.__module__
    shell.__doc__, shell.__annotations__ = function.__doc__, function.__annotations__
    return shell


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, nn.Parameter) or _holds_modules(value):
        return copy.deepcopy(value, memo)
    return value


def _holds_modules(value: Any) -> bool:
    return not isinstance(value, Tensor | types.ModuleType | type) and bool(
        roots_of([value]) or functions_of([value])
    )
