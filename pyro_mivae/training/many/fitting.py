"""Training several seeds of a model/guide pair as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
from lightning_fabric import Fabric
from pyro.infer import ELBO

from pyro_mivae.batches import Prepare
from pyro_mivae.checks import (
    Check,
    check_all,
    check_callable,
    check_choice,
    check_count,
    check_flag,
    optional,
)
from pyro_mivae.isolation import forked_random
from pyro_mivae.runs.history import History
from pyro_mivae.traces.drawing import NonFiniteError
from pyro_mivae.training.averaging import check_decay
from pyro_mivae.training.events import Callback
from pyro_mivae.training.many.copies import (
    CopyLoop,
    MakePair,
    Settings,
    make_copy,
)
from pyro_mivae.training.many.inputs import checked_seeds, data_of_seeds, folders_of_seeds
from pyro_mivae.training.many.loop import stack_copies
from pyro_mivae.training.many.resuming import common_checkpoints
from pyro_mivae.training.parallel import make_fabric
from pyro_mivae.training.players import MakeOptimizer, MakeScheduler
from pyro_mivae.training.seeding import own_randomness
from pyro_mivae.training.sources import TrainingData
from pyro_mivae.training.starting import begin, holding

PRECISIONS = ("32-true", "bf16-mixed")
CHECKS: dict[str, Check] = {
    "make_pair": check_callable,
    **dict.fromkeys(("steps", "log_every", "checkpoint_every"), check_count),
    "batch_size": optional(check_count),
    **dict.fromkeys(("drop_last", "resume", "progress", "compile"), check_flag),
    **dict.fromkeys(
        ("prepare", "optimizer", "lr_scheduler", "callbacks"), optional(check_callable)
    ),
    "precision": lambda name, value: check_choice(name, value, PRECISIONS),
}
"""What arguments of :func:`fit_many` may be."""


@dataclass(frozen=True, repr=False)
class SeedRun:
    """The training of one seed.

    Attributes:
        seed: The seed.
        model: The trained model that ``make_pair`` has made.
        guide: The trained guide.
        elbo: The ELBO.
        history: The rows of the training, in nats per datum.
        steps: Steps done.
        error: Reason why the copy was taken out, with the step; None for one that is finite.
    """

    seed: int
    model: Any
    guide: Any
    elbo: ELBO
    history: History
    steps: int
    error: NonFiniteError | None

    def __repr__(self) -> str:
        if self.error is not None:
            reason = str(self.error).partition(": the training stops")[0]
            return f"seed {self.seed}, taken out of {self.steps} steps: {reason}"
        rows = [row for row in self.history.rows if row["split"] == "train"]
        loss = f", loss {rows[-1]['loss']:.2f} nats per datum" if rows else ""
        return f"seed {self.seed}: {self.steps} steps{loss}"


def fit_many(
    make_pair: MakePair,
    data: TrainingData | Mapping[int, TrainingData],
    *,
    seeds: Iterable[int],
    steps: int,
    batch_size: int | None = 100,
    drop_last: bool = False,
    prepare: Prepare | None = None,
    optimizer: MakeOptimizer | None = None,
    lr_scheduler: MakeScheduler | None = None,
    average: float | None = None,
    device: str = "auto",
    precision: str = "32-true",
    log_every: int = 100,
    callbacks: Callable[[int], Sequence[Callback]] | None = None,
    folder: Path | str | Mapping[int, Path | str] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    compile: bool = False,  # noqa: A002 -- torch's word
) -> dict[int, SeedRun]:
    """Trains copies of a pair, one for each seed, as one.

    The parameters of the copies are stacked. One step of one copy is recorded as a graph of tensor
    operations, ``torch.func.vmap`` makes a graph of all copies from it, and one optimiser updates
    the stacks. The draws are inputs of that graph: each copy has its own, from its own generators,
    in the order of its own training. So each copy equals, to rounding, what these lines train::

        pyro.set_rng_seed(seed)
        model, guide, elbo = make_pair(seed)
        fit(model, guide, elbo, data, seed=seed, ...)

    For *static* programs, as under :func:`~pyro_mivae.infer.compile_elbo`: sites, shapes and
    control flow are the same in each step and each copy. What a program reads from Python's own
    state is a constant. Random states of the caller are afterwards as they were.

    Args:
        make_pair: Makes ``(model, guide, elbo)``, new ones in each call. It is called with the
            seed, after ``pyro.set_rng_seed(seed)``. The copies may differ in weights, in numbers
            of lambda, beta and the scales, and in nothing else. Parameters are those of modules.
        data: Tensors of equal length, or a map-style ``Dataset``, of all copies; or a mapping that
            has them for each seed, all of one length. Each copy has the order of its seed.
        seeds: Seeds of the copies, each another one.
        steps: Steps to have done at the end, earlier ones of a resumed training included.
        batch_size: Data of each copy in a step; None passes all data to each step.
        drop_last: Whether an epoch leaves out its last batch if that is smaller.
        prepare: Makes the arguments of model and guide from the tensors of a batch.
        optimizer: Makes an optimiser of ``torch.optim`` that updates each number by itself, as
            Adam, from the parameters of a pair; the default is :func:`adam`.
        lr_scheduler: Makes a schedule of the step from the optimiser.
        average: Decay of a moving average of the weights, as in :func:`fit`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        precision: ``"32-true"`` or ``"bf16-mixed"``.
        log_every: Steps between two readings of the terms.
        callbacks: Makes the callbacks of a seed, as :func:`fit` takes them; one that ends the
            training ends that of its copy alone.
        folder: Parent of the folders ``seed-<n>``, or a mapping that has a folder for each seed.
            They hold what :func:`fit` writes, and each of the two may go on where the other has
            stopped. None writes nothing.
        checkpoint_every: Steps between two checkpoints.
        resume: Whether to go on from the checkpoints; they have to have one step in common.
        progress: Whether to show progress.
        compile: Whether Inductor compiles the graph, which takes about a minute and pays for long
            trainings; else its operations are called one after the other.

    Returns:
        The training of each seed. A copy with a term or parameter that is NaN or infinite is taken
        out, with a warning; :attr:`SeedRun.error` names the step. The others go on unchanged.

    Raises:
        Interrupted: After SIGINT or SIGTERM, with the checkpoints written.
        CheckpointError: If a checkpoint is damaged or of another training, see :func:`fit`.
        FolderInUseError: If another process trains in one of the folders.
        RecordingError: If the program of the first seed changes in the steps 2, 11, 101, 1001,
            2001, ... or the last: it depends on a number of Python's.
        ValueError: If the pairs can't be recorded or stacked, or settings do not fit; nothing was
            written then.
    """
    settings = locals()
    check_all(settings, CHECKS)
    check_decay(average)
    numbers = checked_seeds(seeds)
    folders = folders_of_seeds(folder, numbers)
    if resume and not folders:
        raise ValueError("resume=True needs the folder of the checkpoints")
    fabric = make_fabric(device, precision)
    common = Settings(
        make_pair=make_pair,
        data=data_of_seeds(data, numbers, fabric.device),
        folders=folders,
        **{name: settings[name] for name in _COMMON},
    )
    local = pyro.settings.context(module_local_params=True)
    with forked_random(fabric.device), own_randomness(numbers[0]), local:
        loops = [_named(seed, common, fabric) for seed in numbers]
        parent = next((path.parent for path in folders.values()), None)
        training = stack_copies(loops, optimizer, compile, parent)
        try:
            with ExitStack() as held:
                _begin(loops, fabric, steps, resume, held)
                training.run(steps, checkpoint_every, progress)
        finally:
            training.release()
    return {loop.seed: _result(loop) for loop in loops}


_COMMON = (
    *("steps", "batch_size", "drop_last", "prepare", "optimizer", "lr_scheduler", "average"),
    *("log_every", "callbacks"),
)


def _named(seed: int, settings: Settings, fabric: Fabric) -> CopyLoop:
    """The copy of a seed; what is raised on the way says which it was of."""
    try:
        return make_copy(seed, settings, fabric)
    except Exception as error:
        error.add_note(f"while the pair of seed {seed} was made")
        raise


def _begin(
    loops: Sequence[CopyLoop], fabric: Fabric, steps: int, resume: bool, held: ExitStack
) -> None:
    """Locks the folders, and restores the copies or looks whether they may write to these."""
    folders = {loop.seed: loop.folder for loop in loops if loop.folder is not None}
    for folder in folders.values():
        held.enter_context(holding(fabric, folder))
    load = common_checkpoints(folders) if resume else None
    for loop in loops:
        if loop.folder is not None:
            options = {} if load is None else {"load": load}
            with loop.in_place():
                begin(loop, loop.folder, steps, resume=resume, **options)


def _result(loop: CopyLoop) -> SeedRun:
    objective = loop.objective
    return SeedRun(
        *(loop.seed, objective.model, objective.guide, loop.elbo),
        *(loop.history, loop.step, loop.error),
    )
