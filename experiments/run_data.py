"""The data of a run's folder: which they were, and whether those found now are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_mivae import runs
from pyro_mivae.datasets import Digits
from pyro_mivae.datasets.digits import DataName


def data_of(folder: Path, settings: Any) -> DataName:
    """Names the data that the run in a folder was on, whatever "auto" finds by now.

    Args:
        folder: Folder of a run.
        settings: Its settings of the data; those of the main job or of InfoGAN.

    Raises:
        ValueError: If the folder's ``config.json`` names no data.
    """
    if settings.data != "auto":
        name: DataName = settings.data
        return name
    before = _data_before(folder)["name"]
    return "mnist-5k" if before == "mnist-5k" else "mnist"


def check_same_data(folder: Path, digits: Digits) -> None:
    """Raises a ``ValueError`` unless the run in `folder` was on these data."""
    before = _data_before(folder)
    if before["checksum"] != digits.checksum:
        raise ValueError(
            f"the run in {folder} was on {before['name']} ({before['checksum'][:12]}), but the "
            f"data found now are {digits.name} ({digits.checksum[:12]}): say --data-dir"
        )


def _data_before(folder: Path) -> dict[str, Any]:
    before: dict[str, Any] = runs.read_config(folder)["data"]
    for name in ("name", "checksum"):
        if not isinstance(before.get(name), str):
            raise ValueError(
                f"{folder / runs.CONFIG} has no {name!r} of the data: it was edited. Copy it back "
                "from a backup, or train anew in another folder"
            )
    return before
