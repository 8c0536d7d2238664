"""Writing figures into a run's folder, headed by the run's settings and name."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pyro_mivae.plotting.style import DPI, TINY
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.runs.folder import read_json
from pyro_mivae.runs.names import as_label

SETTINGS = {
    "prior": "prior {}",
    "channel": "training channel {}",
    "mi_weight": "λ = {}",
    "code_scale": "codes scored at scale {}",
    "data": "data {}",
    "seed": "seed {}",
    "steps": "{} steps",
}
LINE = 120
"""Characters of a heading's line, which is as wide as a figure."""


def save(
    figures: Mapping[str, Figure], folder: Path, *, settings_of: Path | None = None
) -> dict[str, Path]:
    """Writes figures as PNG files into ``figures`` of a folder, headed by a run's settings.

    Args:
        figures: Figures by the names of their files.
        folder: Folder to write to; it must exist.
        settings_of: Folder of the run, by default the same.
    """
    above = heading(settings_of or folder)
    (folder / "figures").mkdir(exist_ok=True)
    paths = {name: folder / "figures" / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        if above:
            figure.suptitle(above, x=0.01, ha="left", fontsize=TINY, color="#666666")
        with atomic_path(paths[name]) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)
    return paths


def heading(folder: Path) -> str:
    """Lists the settings that decide what a run learnt, and its name; "" without settings.

    The settings may stand anywhere in the configuration of the run.
    """
    path = folder / "config.json"
    if not path.is_file():
        return ""
    config = read_json(path, "Copy it back from a backup, or delete it: figures go without heading")
    values = {key: _find(config, key) for key in SETTINGS}
    parts = [SETTINGS[key].format(value) for key, value in values.items() if value is not None]
    parts.append(f"run {folder.resolve().name}")
    # No break inside a part.
    text = "  ·  ".join(part.replace(" ", "\xa0") for part in parts)
    lines = [line.strip(" ·") for line in textwrap.wrap(text, LINE, break_on_hyphens=False)]
    return as_label("\n".join(lines).replace("\xa0", " "))


def _find(config: Any, key: str) -> Any:
    if not isinstance(config, Mapping):
        return None
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    if value is not None:
        return value
    return next((v for v in (_find(c, key) for c in config.values()) if v is not None), None)
