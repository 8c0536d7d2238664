"""Train, measure and question mutual information in Pyro latent-variable models.

The names that most programs start with; everything else is in the modules. These, and torch with
them, are loaded where a name is first used: to read a run's folder takes neither.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_mivae.infer import TraceMI_ELBO
    from pyro_mivae.training import evaluate, fit
    from pyro_mivae.vae import MIVAE

__version__ = "0.1.0"
__all__ = ["MIVAE", "TraceMI_ELBO", "evaluate", "fit"]

_ROOMS = {"MIVAE": "vae", "TraceMI_ELBO": "infer", "evaluate": "training", "fit": "training"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
