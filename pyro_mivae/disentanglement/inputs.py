"""Codes and factors as arrays: what may be given, and what is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def as_array(values: Any, name: str, ndim: int) -> Floats:
    """Makes an array of double precision from an array, a tensor of any device, or lists.

    Args:
        values: Numbers to convert.
        name: Name of the numbers in an error.
        ndim: Number of dimensions that they must have.

    Raises:
        ValueError: If there are more or fewer dimensions, no numbers, or some are not finite.
    """
    values = plain(values)
    if np.ma.is_masked(values) or np.iscomplexobj(values):
        raise ValueError(
            f"{name}: expected real numbers, found "
            + ("a masked array: drop masked rows" if np.ma.is_masked(values) else "complex ones")
        )
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        hint = ": if it is a label, give it by name and name it in nominal"
        raise ValueError(
            f"{name}: expected numbers, found others ({error})"
            + (hint if name.startswith("factors") else "")
        ) from error
    if array.ndim != ndim or not array.size:
        raise ValueError(
            f"{name}: expected numbers in {ndim} dimensions, found the shape {array.shape}"
            + (f"; {name}[:, None] is a single column" if array.ndim == 1 and ndim == 2 else "")
        )
    if not np.isfinite(array).all():
        rows = int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum())
        raise ValueError(
            f"{name}: expected finite numbers, found NaN or infinity in {rows} of {len(array)} "
            "rows: drop these rows from codes and factors alike, and say how many there were"
        )
    return array


@dataclass(frozen=True, eq=False)
class Factors:
    """Factors of variation of N points.

    Attributes:
        values: Shape ``(N, factors)``; a nominal factor's labels are numbered 0, 1, ...
        names: Names of the columns.
        nominal: For each column, whether it holds labels, whose order means nothing.
    """

    values: Floats
    names: tuple[str, ...]
    nominal: tuple[bool, ...]

    @property
    def labels(self) -> list[str]:
        """The names of the nominal factors."""
        return [name for name, is_label in zip(self.names, self.nominal, strict=True) if is_label]

    def select(self, names: Collection[str]) -> Factors:
        """Selects the factors of these names."""
        columns = [i for i, name in enumerate(self.names) if name in names]
        return Factors(
            self.values[:, columns],
            tuple(self.names[i] for i in columns),
            tuple(self.nominal[i] for i in columns),
        )


def as_factors(factors: Any, nominal: Collection[str | int] = ()) -> Factors:
    """Makes a table of factors from the arguments that functions of this package take.

    Args:
        factors: Shape ``(N, factors)``, or by name an array of shape ``(N,)`` each, also as a data
            frame; a nominal one by name may hold strings. The columns of an array are called
            ``"0"``, ``"1"``, ...
        nominal: Names (of an array: or numbers) of the factors that are labels, or one name.

    Raises:
        ValueError: If a name is unknown, a factor constant, the numbers are not finite, or a label
            is missing.
    """
    if isinstance(factors, Factors):
        return factors
    if isinstance(factors, Mapping) or hasattr(factors, "columns"):  # a data frame has columns
        keys = list(factors if isinstance(factors, Mapping) else factors.columns)
        names = [str(key) for key in keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"factors: expected a name for each, found {twice} more than once")
        columns = {str(key): plain(factors[key]) for key in keys}
    else:
        array = as_array(factors, "factors", 2)
        columns = {str(i): column for i, column in enumerate(array.T)}
    labels = {str(name) for name in ([nominal] if isinstance(nominal, str | int) else nominal)}
    if unknown := sorted(labels - columns.keys()):
        raise ValueError(
            f"nominal: expected some of the factors {sorted(columns)}, found {unknown[0]!r}"
        )
    lengths = {name: np.shape(column) for name, column in columns.items()}
    if not columns or len(set(lengths.values())) > 1 or len(next(iter(lengths.values()))) != 1:
        raise ValueError(f"factors: expected arrays of one shape (N,), found the shapes {lengths}")
    numbers = [
        _numbered(column, f"factors[{name!r}]").astype(np.float64)
        if name in labels
        else as_array(column, f"factors[{name!r}]", 1)
        for name, column in columns.items()
    ]
    for name, column in zip(columns, numbers, strict=True):
        if column.min() == column.max():
            raise ValueError(
                f"factors[{name!r}]: expected a factor that varies, found {len(column)} equal "
                "values: leave it out"
            )
    return Factors(np.stack(numbers, 1), tuple(columns), tuple(name in labels for name in columns))


def as_pair(codes: Any, factors: Any, nominal: Collection[str | int]) -> tuple[Floats, Factors]:
    """Checks codes, shape ``(N, codes)``, and factors of the same N points.

    Raises:
        ValueError: If they are not as many, and as :func:`as_array` and :func:`as_factors`.
    """
    array, table = as_array(codes, "codes", 2), as_factors(factors, nominal)
    if len(array) != len(table.values):
        raise ValueError(
            f"codes and factors: expected as many rows, found {len(array)} and {len(table.values)}"
        )
    return array, table


def group_numbers(within: Any, count: int) -> Ints:
    """Gives the groups to rank inside of numbers from 0, shape ``(count,)``.

    Raises:
        ValueError: If there are not as many, or some are missing.
    """
    if (shape := np.shape(plain(within))) != (count,):
        raise ValueError(f"within: expected the shape ({count},), found {shape}")
    return _numbered(within, "within")


def plain(values: Any) -> Any:
    """Makes a tensor an array; it is known by its methods, so that torch isn't imported."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()


def _numbered(labels: Any, name: str) -> Ints:
    """Labels as numbers from 0, in their order."""
    labels = plain(labels)
    # A list goes by its items: an array of strings would turn NaN into one more of them.
    array = np.asarray(labels) if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    missing = [_is_missing(x) for x in array] if array.dtype == object else array != array
    if number := int(np.sum(missing)):
        raise ValueError(
            f"{name}: expected a label for every point, found NaN or None in {number} of "
            f"{len(array)} rows: drop these rows from codes and factors alike, and say how many "
            "there were"
        )
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)


def _is_missing(value: Any) -> bool:
    """None, NaN or NaT, which differ from themselves, or what pandas has for them."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
