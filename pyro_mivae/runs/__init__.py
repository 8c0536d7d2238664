"""Run folders that explain themselves: settings, versions, history and what was measured.

The groups of a run's netCDF file are in :mod:`pyro_mivae.runs.groups`, which needs xarray.
"""

from pyro_mivae.runs.claim import Claim, claimed, new_folder, resumed, set_measurements_aside
from pyro_mivae.runs.folder import (
    CONFIG,
    HISTORY,
    METRICS,
    commit,
    is_run,
    read_config,
    read_json,
    versions,
    write_config,
    write_json,
)
from pyro_mivae.runs.history import History
from pyro_mivae.runs.loading import LoadedRun, load

__all__ = [
    "CONFIG",
    "HISTORY",
    "METRICS",
    "Claim",
    "History",
    "LoadedRun",
    "claimed",
    "commit",
    "is_run",
    "load",
    "new_folder",
    "read_config",
    "read_json",
    "resumed",
    "set_measurements_aside",
    "versions",
    "write_config",
    "write_json",
]
