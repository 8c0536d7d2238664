"""Training any model/guide pair: one loop, through Lightning Fabric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyro
from lightning_fabric.loggers.logger import Logger
from pyro.infer import ELBO

from pyro_mivae.batches import Prepare
from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.page_in import page_in_log1p
from pyro_mivae.runs.history import History
from pyro_mivae.training import parallel
from pyro_mivae.training.averaging import check_decay, make_average
from pyro_mivae.training.discovery import find_parameters
from pyro_mivae.training.events import Callback
from pyro_mivae.training.loggers import check_loggers, logging_to
from pyro_mivae.training.loop import Loop
from pyro_mivae.training.objective import Objective, make_game
from pyro_mivae.training.parallel import make_fabric
from pyro_mivae.training.players import MakeOptimizer, MakeScheduler, make_players
from pyro_mivae.training.record import make_record
from pyro_mivae.training.sources import DefaultSize, TrainingData, kind_of, make_source
from pyro_mivae.training.starting import begin, check_settings, holding
from pyro_mivae.training.steps import Compile


def fit(
    model: Any,
    guide: Any,
    elbo: ELBO | TraceMI_GAN,
    data: TrainingData,
    *,
    steps: int,
    batch_size: int | None = DefaultSize(100),
    drop_last: bool = False,
    prepare: Prepare | None = None,
    optimizer: MakeOptimizer | Mapping[str, MakeOptimizer] | None = None,
    lr_scheduler: MakeScheduler | Mapping[str, MakeScheduler] | None = None,
    discriminator_steps: int = 1,
    average: float | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    devices: int = 1,
    num_nodes: int = 1,
    log_every: int = 100,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    folder: Path | str | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    compile: Compile = False,  # noqa: A002 -- torch's word
) -> History:
    """Trains a model/guide pair.

    Modules are moved to the device and trained there. For functions, methods and objects the
    modules that they call, and the parameters in Pyro's store, are collected by running the pair
    once: such modules are moved, saved in checkpoints and compiled, too, and trained if
    ``pyro.module`` registers them (as under Pyro's SVI). Nothing in a step waits
    for the device: terms are collected there and read every `log_every` steps. Pyro's
    validation is on for the first step only. Under ``fit`` the parameters of
    :class:`~pyro.nn.PyroModule` stay out of Pyro's global store.

    Args:
        model: A Pyro model, called with the batch.
        guide: Its guide, called with the same.
        elbo: A :class:`~pyro_mivae.infer.TraceMI_ELBO`, or an ELBO of Pyro, or the adversarial
            :class:`~pyro_mivae.infer.TraceMI_GAN`. Its discriminator is moved to the device, put
            into training mode, trained and saved, too.
        data: Tensors of equal length, or a ``TensorDataset`` of them: moved to the device as a
            whole, shuffled by index there. Or a map-style ``Dataset``, whose data are read by
            index, batch by batch. Or a ``DataLoader``, or any object that gives the batches of an
            epoch each time it is gone through: tensors, tuples, lists, or dicts, which are keyword
            arguments of model, guide and `prepare`.
        steps: Steps to have done at the end, earlier ones of a resumed run included.
        batch_size: Data in a step, of all processes together; the last batch of an epoch
            may be smaller. A ``DataLoader`` and an iterable have batches of their own. None
            passes all data, unshuffled, to every step (for models that subsample).
        drop_last: Whether an epoch leaves out its last batch if that is smaller. Batch
            normalisation in training mode can't take a batch of one datum.
        prepare: Makes the arguments of model and guide from the tensors of a batch.
        optimizer: Makes a torch optimiser from the parameters; default :func:`adam`. A GAN has
            two, one for each player: ``{"model": ..., "reader": ...}``, or one callable that is
            called for each. The default is Adam with betas (0.5, 0.999), and with the learning
            rates 1e-3 for the model and 5e-4 for the reader, discriminator and guide.
        lr_scheduler: Makes a schedule of ``torch.optim.lr_scheduler`` from the optimiser; for a
            GAN, too, by player or for each. It moves after every step; ``ReduceLROnPlateau``
            after every reading, by the loss (``"loss/model"`` or ``"loss/reader"``).
        discriminator_steps: Updates of a GAN's reader before each of the model, each on another
            batch. A step has all of them, and one update of the model.
        average: Decay of a moving average of the weights, for example 0.999; None for none. It is
            of the model's parameters and buffers, and under an ELBO of the guide's, too. After the
            training the modules have the averages. Steps, and checkpoints to go on from, use the
            weights themselves; a checkpoint has both (``state["average"]["weights"]``).
            :attr:`Event.averaged` is for callbacks.
        seed: Seeds torch's global generators, differently in each process, and the order
            of the data.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        precision: As Lightning Fabric names it.
        devices: Processes on this machine, a device each: they train one model, each on its
            share of the batch and with its own draws. The others are started by executing
            the program's command again; under ``torchrun`` they are there already.
        num_nodes: Machines.
        log_every: Steps between two readings of the terms.
        callbacks: Called with an :class:`Event` after each reading, epoch, and at the end;
            of several processes on rank 0 only, while the others wait. :class:`EarlyStopping`
            and others with a method ``ends`` of the history may end the training.
        loggers: Loggers of Lightning Fabric, which get the rows of the history, on rank 0: for
            example ``lightning_fabric.loggers.CSVLogger("logs")``.
        folder: Where checkpoints go; None writes none. It is locked meanwhile, and one with the
            checkpoints of another model or on other data is refused. With one, SIGINT and SIGTERM
            stop the run after a checkpoint (several processes: after the next reading).
        checkpoint_every: Steps between two checkpoints.
        resume: Whether to go on from the checkpoint in `folder`.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.
        compile: False computes the loss of a step in eager mode. The others are for static
            programs, see :func:`~pyro_mivae.infer.compile_elbo`. ``"replay"`` records the first
            step, in less than a second, and runs the recorded operations without Pyro's Python.
            True lets Inductor compile them, in 10 to 20 seconds (a few, once it is cached).
            ``"auto"`` is eager below 500 steps, and replays from there on. After 20 replayed steps
            it compiles if what that saves in the steps to come is more than it takes. The choice
            is logged and noted in the checkpoints; a resumed training takes it up. What
            ``compile_elbo`` has made of this model, guide and ELBO is taken, too: a pair that is
            trained several times, its parameters set anew in between, is then recorded once. In
            the steps 1, 10, 100, 1000, 2000, ... and the last, a recorded step is compared with an
            eager one.

    Returns:
        The history, with means over the steps between two readings, in nats per datum. Where the
        model's plate takes a batch for a part of N data, its terms are divided by N.

    Raises:
        NonFiniteError: If a term is NaN or infinite.
        RecordingError: If a recorded step is not the eager one: the program depends on something
            that recording has frozen, as a number of Python's that changes.
        Interrupted: After SIGINT or SIGTERM, with the checkpoint written.
        CheckpointError: If the checkpoint to resume is damaged, or of another model, objective,
            optimiser, data, seed, batch size, learning rate or schedule, or has more steps done.
        FolderInUseError: If another process trains in `folder`.
        ValueError: If the data or the settings do not fit.
    """
    kind_of(data)
    check_loggers(loggers)
    check_settings(locals())
    check_decay(average)
    folder = None if folder is None else Path(folder)
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the checkpoint")
    fabric = make_fabric(device, precision, devices, num_nodes)
    parallel.launch(fabric)
    page_in_log1p()
    share = (fabric.global_rank, fabric.world_size)
    pyro.set_rng_seed(parallel.rank_seed(seed, fabric.global_rank))
    with pyro.settings.context(module_local_params=True):
        game = make_game(
            model, guide, elbo, compile, discriminator_steps=discriminator_steps, share=share
        )
        objective = Objective(model, guide, game)
        batches = make_source(data, batch_size, seed, prepare, fabric.device, share, drop_last)
        owners, stored = find_parameters(fabric, objective, batches)
        if not game.alone:
            parallel.allow_unused(fabric, objective, batches)
        players = make_players(game, owners, optimizer, lr_scheduler, steps)
        wrapped, *optimizers = fabric.setup(objective, *(p.rates.optimizer for p in players))
        for player, wrapper in zip(players, optimizers, strict=True):
            player.optimizer = wrapper
        loop = Loop(
            *(fabric, objective, wrapped, players, stored, batches, log_every, callbacks, folder)
        )
        of_model = next(player for player in players if player.name == "model")
        loop.average = make_average(average, objective, of_model, stored)
        with holding(fabric, folder):
            if folder is not None:
                loop.record = make_record(batches, game, players, loop.average)
                begin(loop, folder, steps, resume=resume)
            with logging_to(loggers, loop):
                loop.run(steps, checkpoint_every, progress)
    return loop.history
