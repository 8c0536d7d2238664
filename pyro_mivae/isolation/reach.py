"""The modules that a program can reach, read off its code and its objects without a run."""

from __future__ import annotations

import collections
import dis
import functools
import sys
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from pyro.poutine.messenger import _context_wrap
from torch import Tensor, nn

DEPTH = 12
"""Steps from a program to a module: a closure's cell, an attribute, an item of a list."""

ITEMS = 1000
"""Items of a list or dict that are looked at."""

_FOREIGN = {*sys.stdlib_module_names, "torch", "pyro", "numpy", "pandas", "lightning_fabric"}
"""Packages whose functions are not read and whose objects hold no modules of a program."""

_HOLDERS = (
    torch.distributions.Distribution,
    torch.distributions.Transform,
    types.SimpleNamespace,
    collections.deque,
)
_REMEMBERED: weakref.WeakKeyDictionary[Any, dict[Any, list[weakref.ref[nn.Module]]]]
_REMEMBERED = weakref.WeakKeyDictionary()


def modules_of(parts: Sequence[Any]) -> list[nn.Module]:
    """Lists the modules that programs are or can reach, with all of their parts."""
    modules: dict[int, nn.Module] = {}
    for root in roots_of(parts):
        for module in root.modules():
            modules.setdefault(id(module), module)
    return list(modules.values())


def device_of(parts: Sequence[Any], leaves: Iterable[Any] = ()) -> torch.device:
    """Returns the device of the parameters that programs reach; else of the first tensor."""
    parameters = (p for module in modules_of(parts) for p in module.parameters(recurse=False))
    tensors = chain(parameters, (leaf for leaf in leaves if isinstance(leaf, Tensor)))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def roots_of(parts: Sequence[Any]) -> list[nn.Module]:
    """Lists the modules that programs are or can reach, without the parts of others among them.

    Looked at are the owner of a bound method, ``functools.partial``, closures, defaults, wrapped
    functions, the global variables that the code names, attributes of plain objects, and the
    items of lists and dicts in all of these.

    Args:
        parts: Models, guides, or other programs.
    """
    reach = _Reach()
    for part in parts:
        reach.walk(part, DEPTH)
    return outermost(reach.modules)


def functions_of(parts: Sequence[Any]) -> list[types.FunctionType]:
    """Lists the functions that programs are made of, without PyTorch's, Pyro's and Python's."""
    reach = _Reach()
    for part in parts:
        reach.walk(part, DEPTH)
    return [f for f in reach.functions if not _is_foreign(f)]


def owner_of(program: Any) -> nn.Module | None:
    """Returns the module that a program is, or is a method of, under Pyro's handlers, too."""
    while isinstance(program, functools.partial):
        handled = program.func is _context_wrap and len(program.args) > 1
        program = program.args[1] if handled else program.func
    owner = getattr(program, "__self__", program)
    return owner if isinstance(owner, nn.Module) else None


def remembered_roots(program: Any) -> list[nn.Module]:
    """Lists :func:`roots_of` one program, read once: what is reached by a later change is missing.

    For blocks that run in every step, where a new reading would cost too much.
    """
    owner, function = getattr(program, "__self__", program), getattr(program, "__func__", None)
    try:
        entries = _REMEMBERED.setdefault(owner, {})
    except TypeError:  # no weak reference, or no hash
        return roots_of([program])
    if function not in entries:
        # Weakly: an owner must not be kept alive by what is remembered about it.
        entries[function] = [weakref.ref(module) for module in roots_of([program])]
    modules = [reference() for reference in entries[function]]
    return [module for module in modules if module is not None]


def outermost(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Lists those of the modules that are not parts of others of them, each once."""
    inner = {id(part) for module in modules for part in module.modules() if part is not module}
    unique = {id(module): module for module in modules if id(module) not in inner}
    return list(unique.values())


class _Reach:
    """A walk over objects, each once."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.functions: list[types.FunctionType] = []
        self._seen: dict[int, Any] = {}  # kept alive, for their ids

    def walk(self, value: Any, depth: int) -> None:
        if depth == 0 or id(value) in self._seen or _is_plain(value):
            return
        self._seen[id(value)] = value
        if isinstance(value, nn.Module):
            self.modules.append(value)
        if isinstance(value, types.FunctionType):
            self.functions.append(value)
        for following in self._following(value):
            self.walk(following, depth - 1)

    def _following(self, value: Any) -> Iterator[Any]:
        """What an object refers to and a program can use through it."""
        if isinstance(value, nn.Module):
            for module in list(value.modules()):
                self._seen.setdefault(id(module), module)
                yield from _attributes(module)
                yield from _code_of(module, "forward")
        elif isinstance(value, types.MethodType):
            yield from (value.__self__, value.__func__)
        elif isinstance(value, functools.partial):
            yield from (value.func, *value.args, *value.keywords.values())
            yield from _attributes(value)
        elif isinstance(value, types.FunctionType):
            yield from _used_by(value)
        elif isinstance(value, Mapping):
            yield from list(value.values())[:ITEMS] if len(value) <= 10 * ITEMS else ()
        elif isinstance(value, list | tuple | set | frozenset | collections.deque):
            yield from list(value)[:ITEMS]
        elif isinstance(value, weakref.ReferenceType):
            yield value()
        elif not isinstance(value, type | types.ModuleType):
            yield getattr(value, "__wrapped__", None)  # functools.cache
            if not _is_foreign(type(value)) or _holds_modules(value):
                yield from _attributes(value)
                yield from _code_of(value, "__call__")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, torch.Tensor | str | bytes | int | float | complex)


def _is_foreign(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] in _FOREIGN


def _holds_modules(value: Any) -> bool:
    """Whether an object of a foreign class may hold a program's modules all the same."""
    return isinstance(value, _HOLDERS) or type(value).__module__.startswith("pyro.")


def _attributes(value: Any) -> Iterator[Any]:
    skipped = ("_parameters", "_buffers", "_modules") if isinstance(value, nn.Module) else ()
    try:
        table = vars(value)
    except TypeError:
        table = {}
    yield from [item for name, item in list(table.items()) if name not in skipped]
    for cls in type(value).__mro__:
        if not _is_foreign(cls):
            kinds = (nn.Module, list, tuple, dict, *_HOLDERS)
            yield from [item for item in cls.__dict__.values() if isinstance(item, kinds)]
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            descriptor = cls.__dict__.get(name)
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    yield descriptor.__get__(value)
                except AttributeError:  # not set
                    continue


def _code_of(value: Any, name: str) -> Iterator[Any]:
    """The function that runs when an object is called, unless it is PyTorch's or Pyro's."""
    function = getattr(type(value), name, None)
    if isinstance(function, types.FunctionType) and not _is_foreign(function):
        yield function


def _used_by(function: types.FunctionType) -> Iterator[Any]:
    yield getattr(function, "__wrapped__", None)
    # Closures and defaults are the program's own also where a library made the function.
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if not _is_foreign(function):
        yield from _globals_of(function.__code__, function.__globals__)


@functools.lru_cache(maxsize=1000)
def names_of_globals(code: types.CodeType) -> tuple[str, ...]:
    """Lists the global variables that a function's code reads, that of functions within, too."""
    names = [i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += names_of_globals(constant)
    return tuple(dict.fromkeys(names))


def _globals_of(code: types.CodeType, table: dict[str, Any]) -> Iterator[Any]:
    for name in names_of_globals(code):
        value = table.get(name)
        if isinstance(value, types.ModuleType) and not _is_foreign_module(value):
            # encoders.mnist(x): what the code names of the module
            yield from [vars(value)[n] for n in code.co_names if n in vars(value)]
        else:
            yield value


def _is_foreign_module(module: types.ModuleType) -> bool:
    return module.__name__.split(".")[0] in _FOREIGN
