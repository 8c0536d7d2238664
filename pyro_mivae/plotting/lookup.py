"""Reading groups, values and sites of a run's tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mivae.plotting.style import SITES, mi_name, number


def get_group(tree: xr.DataTree, group: str) -> xr.Dataset:
    """Returns a group, empty if the tree has none of this name."""
    return tree[group].to_dataset() if group in tree.children else xr.Dataset()


def get_values(tree: xr.DataTree, group: str, name: str) -> NDArray[Any]:
    """Returns the values of a variable or coordinate.

    Raises:
        ValueError: If the group has none of this name.
    """
    data = get_group(tree, group)
    if name not in data.variables:
        raise ValueError(
            f"the tree has no '{name}' in its group '{group}': expected what inference_data() "
            f"makes, found {list(data.data_vars)}. Give inference_data() the labels, images or "
            "information that are missing"
        )
    values: NDArray[Any] = data[name].values
    return values


def mi_by_channel(tree: xr.DataTree, site: str) -> dict[str, NDArray[Any]]:
    """Returns MI of each dimension of a site, by channel where it was measured."""
    data = get_group(tree, "information")
    if f"mi_{site}" not in data:
        return {}
    rows = data[f"mi_{site}"].transpose("channel", ...).values
    rows = rows.reshape(len(rows), -1)
    named = zip(data["channel"].values, rows, strict=True)
    return {str(channel): row for channel, row in named if not np.isnan(row).all()}


def sites_of(data: xr.Dataset) -> list[str]:
    """Lists the sites whose dimensions were measured, in the order of :data:`SITES`.

    Raises:
        ValueError: If there is none.
    """
    # A category is one dimension without a coordinate.
    sites = [site for site in SITES if f"{site}_dim" in data.sizes or f"activity_{site}" in data]
    if not sites:
        raise ValueError(
            "the tree has no group 'information': pass information to inference_data()"
        )
    return sites


def tick(site: str, dimension: int) -> str:
    """Names a dimension of a site; a category has one only."""
    return f"${site}$" if site == "d" else f"${site}_{{{dimension}}}$"


def by_information(
    tree: xr.DataTree, site: str, size: int, channel: str | None = None
) -> tuple[NDArray[Any], list[str], str]:
    """Orders dimensions by descending MI, with labels and the name of that MI ("" for none).

    Raises:
        ValueError: If MI was not measured under the channel.
    """
    measured = mi_by_channel(tree, site)
    if channel is not None and channel not in measured:
        raise ValueError(
            f"no MI of '{site}' under channel {channel!r}: expected one of {list(measured)}"
        )
    if not measured:
        return np.arange(size), [tick(site, d) for d in range(size)], ""
    channel = channel or ("sample" if "sample" in measured else next(iter(measured)))
    mi = measured[channel]
    order = np.argsort(-mi, kind="stable")
    labels = [f"{tick(site, d)}:  {number(mi[d])} nats" for d in order]
    return order, labels, mi_name(channel)
