"""Training of any model/guide pair through Lightning Fabric, checkpoints and refitting."""

from pyro_mivae.infer.compiled.checking import RecordingError
from pyro_mivae.isolation import evaluation
from pyro_mivae.runs.lock import FolderInUseError
from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint, load_checkpoint
from pyro_mivae.training.evaluating import evaluate
from pyro_mivae.training.events import Callback, Event
from pyro_mivae.training.fitting import fit
from pyro_mivae.training.many.fitting import SeedRun, fit_many
from pyro_mivae.training.optimizers import adam
from pyro_mivae.training.parallel import make_fabric
from pyro_mivae.training.refitting import refit_guide
from pyro_mivae.training.signals import Interrupted
from pyro_mivae.training.stopping import EarlyStopping

__all__ = [
    "Callback",
    "CheckpointError",
    "EarlyStopping",
    "Event",
    "FolderInUseError",
    "Interrupted",
    "NonFiniteError",
    "RecordingError",
    "SeedRun",
    "adam",
    "evaluate",
    "evaluation",
    "fit",
    "fit_many",
    "has_checkpoint",
    "load_checkpoint",
    "make_fabric",
    "refit_guide",
]
