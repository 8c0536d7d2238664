"""Writing figures into a run's folder, headed by its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pyro_mivae.plotting.style import SMALL
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.runs.folder import read_json
from pyro_mivae.runs.names import as_label


def save(
    figures: Mapping[str, Figure], folder: Path, *, settings_of: Path | None = None
) -> dict[str, Path]:
    """Writes figures as PNG files into ``figures`` of a folder, headed by a run's settings.

    Args:
        figures: Figures by the names of their files.
        folder: Folder to write to; it must exist.
        settings_of: Folder of the run, by default the same.
    """
    above = heading((settings_of or folder) / "config.json")
    (folder / "figures").mkdir(exist_ok=True)
    paths = {name: folder / "figures" / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        if above:
            figure.suptitle(above, x=0.01, ha="left", fontsize=SMALL, color="#666666")
        with atomic_path(paths[name]) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    return paths


def heading(path: Path) -> str:
    """Lists the settings that decide what was learnt, wherever in a configuration they are."""
    if not path.is_file():
        return ""
    names = {"prior": "prior", "channel": "training channel", "mi_weight": "λ =", "data": "data"}
    config = read_json(path, "Copy it back from a backup, or delete it: figures go without heading")
    settings = {name: _find(config, key) for key, name in names.items()}
    return as_label(
        "  ·  ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
    )


def _find(config: Any, key: str) -> Any:
    if not isinstance(config, Mapping):
        return None
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    if value is not None:
        return value
    return next((v for v in (_find(c, key) for c in config.values()) if v is not None), None)
