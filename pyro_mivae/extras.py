"""Packages that only parts of the library need: what is missing is named with its extra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXTRAS = {
    "arviz": ("arviz", "h5netcdf", "h5py"),
    "digits": ("mlxtend", "skimage", "sklearn", "torchvision"),
    "figures": ("matplotlib",),
    "metrics": ("sklearn",),
    "experiments": ("joblib", "rich", "tyro"),
}
"""Modules of each extra of ``pyproject.toml``; ``experiments`` has those of all others, too."""


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Names the extra if an import in the block does not find one of its packages.

    Args:
        name: Extra that the block's imports belong to, one of :data:`EXTRAS`.

    Raises:
        MissingExtraError: If a package of the extra is missing; another import's error is left as
            it is.
    """
    modules = EXTRAS[name]
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in modules:
            raise
        raise MissingExtraError(
            f"this needs the package '{missing}', which is not installed: install the extra "
            f"'{name}' by pip install 'pyro-mivae[{name}]', in a clone by pip install "
            f"-e '.[{name}]'",
            name=missing,
        ) from error


def load_arviz() -> Any:
    """Imports ArviZ, which is slow, without what it announces of its version 1 once a day.

    Raises:
        MissingExtraError: If it is not installed.
    """
    with extra("arviz"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz
