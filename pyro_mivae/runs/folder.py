"""Run folders that explain themselves: settings, versions, and measurements."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pyro_mivae.runs.files import write_atomically

CONFIG = "config.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
MEASURED = ("posterior.nc", "figures", "information", "generator")
"""What programs leave in a run's folder of its measurements, besides the metrics."""


def write_config(
    folder: Path, settings: Mapping[str, Any], data: Mapping[str, Any], job: str | None = None
) -> None:
    """Writes ``config.json``: settings, data, versions, commit, job, and all commands so far.

    Args:
        folder: Folder of the run; it must exist.
        settings: Settings of the run.
        data: Description of the data.
        job: Job of a launcher that the run belongs to, if any: by it a restart knows its own run.

    A run that goes on with others of these keeps the former ones under ``earlier``.
    """
    path = folder / CONFIG
    before = read_config(folder) if path.exists() else {}
    config = {
        "settings": dict(settings),
        "data": dict(data),
        "versions": versions(),
        "commit": commit(),
        **({} if job is None else {"job": job}),
        "commands": [*_list(before, "commands"), [Path(sys.executable).name, *sys.argv]],
    }
    config = _plain(config)
    changed = {
        name: before[name]
        for name in ("settings", "data", "versions", "commit")
        if name in before and before[name] != config[name]
    }
    if earlier := [*_list(before, "earlier"), *([changed] if changed else [])]:
        config["earlier"] = earlier
    write_json(path, config)


def read_config(folder: Path) -> dict[str, Any]:
    """Reads what :func:`write_config` wrote.

    Raises:
        FileNotFoundError: If `folder` is not a run.
        ValueError: If the file is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a run: it has no {CONFIG}")
    advice = "Copy it back from a backup, or train anew in another folder"
    config = read_json(path, advice)
    for name in ("settings", "data"):
        if not isinstance(config.get(name), dict):
            raise ValueError(
                f"{path} can't be read as a run's settings: expected an object {name!r}, found "
                f"{type(config.get(name)).__name__}. {advice}"
            )
    return config


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
        path: The file.
        advice: What to do where it is damaged, a sentence without full stop.

    Raises:
        ValueError: If it is damaged; the error names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} can't be read ({error}): it was damaged or edited. {advice}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} can't be read (expected an object, found {type(content).__name__}): it was "
            f"damaged or edited. {advice}"
        )
    return content


def is_run(folder: Path) -> bool:
    """Tells whether a folder has a ``config.json`` that this library wrote."""
    try:
        written_by = read_config(folder).get("versions")
    except (OSError, ValueError):
        return False
    return isinstance(written_by, dict) and "pyro-mivae" in written_by


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically; numbers that are not finite become null, as JSON has none."""
    write_atomically(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide the numbers."""
    packages = ("pyro-mivae", "pyro-ppl", "torch", "lightning-fabric", "numpy", "arviz", "xarray")
    by_name = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            by_name[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            by_name[package] = "not installed"
    return by_name


def commit() -> str | None:
    """Returns the commit of this checkout, ``-dirty`` if it has changes; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _list(config: Mapping[str, Any], name: str) -> list[Any]:
    """A list of an earlier file, which may have been edited."""
    value = config.get(name)
    return value if isinstance(value, list) else []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
