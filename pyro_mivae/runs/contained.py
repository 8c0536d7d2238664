"""Whether an HDF5 file is self-contained: strangers' files may lead to other ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_mivae.extras import extra


class NotContainedError(ValueError):
    """An HDF5 file has links, or values that are stored in other files."""


def check_self_contained(path: Path) -> None:
    """Refuses a file whose links or values are those of other files, before any is opened.

    Args:
        path: HDF5 file, for example netCDF 4.

    Raises:
        NotContainedError: If it has links, external storage or virtual data sets.
        OSError: If it is no HDF5 file, or damaged.
    """
    with extra("arviz"):
        import h5py
    with h5py.File(path, "r") as file:
        _check_group(path, file, set())


def _check_group(path: Path, group: Any, seen: set[Any]) -> None:
    import h5py

    for name in group:
        place = f"{group.name.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _error(path, f"the link {place!r} leads to {link.filename!r}")
        if isinstance(link, h5py.SoftLink):  # netCDF has none, and they may lead in a circle
            raise _error(path, f"the link {place!r} leads to {link.path!r}")
        member = group[name]
        identity = h5py.h5o.get_info(member.id)
        if (identity.fileno, identity.addr) in seen:
            raise _error(path, f"{place!r} has a second name")
        seen.add((identity.fileno, identity.addr))
        if isinstance(member, h5py.Group):
            _check_group(path, member, seen)
        elif isinstance(member, h5py.Dataset):
            if member.external:
                raise _error(path, f"the values of {place!r} are in {member.external[0][0]!r}")
            sources = member.virtual_sources() if member.is_virtual else []
            if others := [s.file_name for s in sources if s.file_name != "."]:
                raise _error(path, f"the values of {place!r} are in {others[0]!r}")


def _error(path: Path, reason: str) -> NotContainedError:
    return NotContainedError(
        f"{path} is not self-contained: {reason}; expected a file that holds all its values, and "
        "no links. It is not read: have its maker write one like that"
    )
