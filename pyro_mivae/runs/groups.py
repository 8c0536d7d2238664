"""ArviZ's groups as an :class:`xarray.DataTree`, and their netCDF file in a run's folder.

Nothing here needs a model. The tree is the type of ArviZ 1; ArviZ 0.23 and 1 read the file.
"""

from __future__ import annotations

import errno
import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pyro_mivae.extras import extra, is_arviz_1, load_arviz
from pyro_mivae.runs.contained import NotContainedError, check_self_contained
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.runs.folder import versions

if TYPE_CHECKING:
    import arviz

FILE = "posterior.nc"
"""Name of the file in a run's folder."""

CHECKED = 1024
"""Bytes from which on values are compressed and have a checksum; each such variable takes some."""
NATS = {"units": "nats"}
DRAWS = ("chain", "draw")
IMAGE = ("image", "height", "width")
"""Dimensions of images; those with channels have ``plane`` before ``height``."""

Variables = Mapping[str, tuple[Any, ...]]
"""Dimensions, values (tensors of any device, or arrays) and, if any, attributes, by name."""


def make_group(
    variables: Variables, coords: Mapping[str, Sequence[Any]] | None = None, **attrs: Any
) -> xr.Dataset:
    """Makes a group in which every dimension has a coordinate, by default 0, 1, ...

    Args:
        variables: Variables of the group, by name.
        coords: Coordinates by dimension.
        attrs: Attributes of the group.
    """
    arrays = {
        name: (dims, np.asarray(value.detach().cpu() if hasattr(value, "cpu") else value), *extra)
        for name, (dims, value, *extra) in variables.items()
    }
    group = xr.Dataset(arrays, attrs={"pyro_mivae_version": _version(), **attrs})
    given = {dim: np.asarray(values) for dim, values in (coords or {}).items()}
    return group.assign_coords(
        {dim: given.get(str(dim), np.arange(size)) for dim, size in group.sizes.items()}
    )


def make_tree(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> xr.DataTree:
    """Makes the tree of the groups that hold anything; `attrs` are attributes of the tree."""
    names = {
        "creation_library": "pyro_mivae",
        "creation_library_version": _version(),
        "inference_library": "pyro",
    }
    root = xr.Dataset(attrs={**names, **attrs})
    return xr.DataTree.from_dict({"/": root, **{n: group for n, group in groups.items() if group}})


def write(tree: xr.DataTree, path: str | Path) -> None:
    """Writes a tree as netCDF, compressed and atomically; the folder must exist."""
    with extra("arviz"):
        import h5netcdf  # noqa: F401 -- xarray loads it
    encoding = {
        node.path: {
            name: {"zlib": True, "complevel": 4, "fletcher32": True}
            for name, variable in node.to_dataset(inherit=False).variables.items()
            if variable.ndim and variable.dtype.kind in "iuf" and variable.nbytes >= CHECKED
        }
        for node in tree.subtree
    }
    with atomic_path(Path(path)) as temporary:
        try:
            # Into memory: on a full disk the HDF5 library ends the process.
            # A copy: xarray's view of its buffer, kept by the traceback of an error and collected
            # with the buffer, ended Python 3.12 with a segmentation fault.
            content = bytes(tree.to_netcdf(engine="h5netcdf", encoding=encoding))
        except TypeError:  # before xarray 2025.9 it needs a path
            _check_space(tree, temporary)
            tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        else:
            temporary.write_bytes(content)


def read(folder: str | Path) -> xr.DataTree:
    """Reads the groups of a run's folder into memory.

    Raises:
        FileNotFoundError: If the folder has no ``posterior.nc``.
        ValueError: If it is damaged, or leads to other files.
    """
    with extra("arviz"):
        import h5netcdf  # noqa: F401 -- xarray loads it
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no {FILE} in {folder}: expected the folder of a finished run. To make one, pass the "
            f"result of inference_data(vae, x) to inference_data.write(tree, {str(path)!r})"
        )
    try:
        check_self_contained(path)
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            loaded = {node.path: node.to_dataset().load() for node in tree.subtree}
        return xr.DataTree.from_dict(loaded)
    except NotContainedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        first = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} can't be read as netCDF ({first}): it was damaged or edited. Delete it: the "
            "run draws it anew when it is resumed"
        ) from error


def from_run(folder: str | Path) -> arviz.InferenceData | xr.DataTree:
    """Reads the groups of a run's folder as ArviZ's type, for ``az.plot_*`` and ``az.summary``.

    Returns:
        With ArviZ 1 an :class:`xarray.DataTree`, with ArviZ 0.23 an ``arviz.InferenceData``.

    Raises:
        FileNotFoundError: If the folder has no ``posterior.nc``.
        ValueError: If it is damaged, or leads to other files.
    """
    arviz, new = load_arviz(), is_arviz_1()
    tree = read(folder)
    if new:
        return tree
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    return arviz.InferenceData(attrs=tree.attrs, **groups)


def _check_space(tree: xr.DataTree, path: Path) -> None:
    """Raises an ``OSError`` unless the disk has room for the tree, as if it were not compressed."""
    needed = sum(node.to_dataset().nbytes for node in tree.subtree) + (1 << 20)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free")


@functools.cache
def _version() -> str:
    return versions()["pyro-mivae"]
