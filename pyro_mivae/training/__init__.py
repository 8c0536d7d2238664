"""Training of any model/guide pair through Lightning Fabric, checkpoints and refitting."""

from pyro_mivae.isolation import evaluation
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint, load_checkpoint
from pyro_mivae.training.fitting import adam, evaluate, fit
from pyro_mivae.training.loop import Callback, Event, Interrupted, NonFiniteError
from pyro_mivae.training.parallel import make_fabric
from pyro_mivae.training.refitting import refit_guide
from pyro_mivae.training.stopping import EarlyStopping

__all__ = [
    "Callback",
    "CheckpointError",
    "EarlyStopping",
    "Event",
    "Interrupted",
    "NonFiniteError",
    "adam",
    "evaluate",
    "evaluation",
    "fit",
    "has_checkpoint",
    "load_checkpoint",
    "make_fabric",
    "refit_guide",
]
