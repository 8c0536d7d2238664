"""Programs that make one run in one folder: claim it, stop well, and say how to go on."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from experiments.command_line import Stopped, errors_only, stopping
from experiments.run_data import check_same_data, data_of
from pyro_mivae import runs
from pyro_mivae.datasets import Digits, load_digits
from pyro_mivae.runs.lock import FolderInUseError
from pyro_mivae.training import (
    Interrupted,
    NonFiniteError,
    RecordingError,
    make_fabric,
    parallel,
    torchrun,
)
from pyro_mivae.training.checkpoints import CheckpointError, has_checkpoint, load_checkpoint


@dataclass(frozen=True)
class Place:
    """The folder of a run, which is locked.

    Attributes:
        folder: Folder of the run.
        claim: Claim on a new folder; None where a run goes on, and on other processes.
        resume: Whether the training goes on from a checkpoint.
        seconds: Seconds that were trained before.
    """

    folder: Path
    claim: runs.Claim | None
    resume: bool
    seconds: float = 0.0

    def settle(self) -> None:
        """Settles the claim on a new folder once there is a checkpoint."""
        if self.claim is not None and has_checkpoint(self.folder):
            self.claim.settle()


@dataclass(frozen=True)
class OneRun:
    """A run to be made, or to be gone on with.

    Attributes:
        program: Name of the program in `experiments`.
        config: Settings of the run, with the groups ``training`` and ``output``.
        folder: Folder that the run is to have.
        digits: Data of the run.
        read_settings: Reads the settings of a folder's run.
    """

    program: str
    config: Any
    folder: Path
    digits: Digits
    read_settings: Callable[[Path], Any]

    def start(self, fabric: Fabric, run: Callable[[Place], None]) -> int:
        """Calls `run` with the folder, which is locked meanwhile; returns the program's exit code.

        Args:
            fabric: Fabric of the training; of several processes the first makes the folder.
            run: Trains and measures.
        """
        place = Place(self.folder, None, False)
        try:
            with stopping(), ExitStack() as stack:
                try:
                    if fabric.is_global_zero:
                        place = self.claim(stack)
                except FileExistsError as error:
                    return fail(f"{error}. Choose another --out{self._instead()}")
                except (ValueError, OSError, RuntimeError) as error:
                    return fail(error)
                # Only now: what failed so far has failed in one process.
                parallel.launch(fabric)
                folder, resume = fabric.broadcast((place.folder, place.resume))
                place = dataclasses.replace(place, folder=folder, resume=resume)
                with errors_only("pyro_mivae.information"):
                    run(place)
                if not fabric.is_global_zero:
                    parallel.leave()
        except (Interrupted, Stopped) as stop:
            if not fabric.is_global_zero:
                return 0  # all processes stop alike, and the first one says it
            print(f"\n{stop}{self._going_on(place)}")
            return 128 + stop.signal
        except (NonFiniteError, RecordingError, CheckpointError, FolderInUseError) as error:
            return fail(error) if fabric.is_global_zero else 0
        except OSError as error:
            return fail(f"{error}{self._going_on(place)}")
        return 0

    def claim(self, stack: ExitStack) -> Place:
        """Makes the run's folder, or checks the one to go on with, and writes the settings.

        The stack holds its lock.
        """
        digits, output, folder = self.digits, self.config.output, self.folder
        if (size := self.config.training.batch_size) > len(digits.train):
            raise ValueError(
                f"--batch-size {size} is more than the {len(digits.train)} images to train on"
            )
        data = {
            "name": digits.name,
            "checksum": digits.checksum,
            "source": digits.source,
            "train": len(digits.train),
            "validation": len(digits.validation),
            "test": len(digits.test),
        }
        restart = output.resume is None and self._restarted()
        claim, resume = None, has_checkpoint(folder) if restart else output.resume is not None
        if output.resume is None and not restart:
            folder = folder if output.out is not None else runs.new_folder(folder)
            claim = stack.enter_context(runs.claimed(folder, overwrite=output.overwrite))
        else:
            stack.enter_context(runs.resumed(folder))
            check_same_data(folder, digits)
        steps = self.config.training.steps
        before = load_checkpoint(folder) if resume else {"step": 0}
        done = before["step"]
        if done > steps:
            raise ValueError(
                f"--steps {steps} are fewer than the {done} that the run in {folder} has done: say "
                f"at least --steps {done}"
            )
        if resume and done < steps and (aside := runs.set_measurements_aside(folder, done)):
            print(f"what was measured before is in {aside}")
        runs.write_config(folder, dataclasses.asdict(self.config), data, torchrun.job())
        return Place(folder, claim, resume, before.get("seconds", 0.0))

    def _restarted(self) -> bool:
        """Whether torchrun started this process again, and the folder is of its run so far."""
        count, most = torchrun.restarts()
        if most and self.config.output.out is None:
            raise ValueError(
                "torchrun --max-restarts needs --out (or --resume): a restart finds its run by it"
            )
        if not count or not (self.folder / runs.CONFIG).is_file():
            return False
        before = runs.read_config(self.folder)
        same = before.get("job") == torchrun.job()
        return bool(same and self.read_settings(self.folder) == self.config)

    def _going_on(self, place: Place) -> str:
        """The end of the last line of a run that was stopped: how it goes on."""
        kept = place.claim is None or place.claim.kept
        if kept and has_checkpoint(place.folder):
            folder = shlex.quote(str(place.folder))
            return f"; go on with\n  python -m experiments.{self.program} --resume {folder}"
        return ", before the first checkpoint: start the same command again"

    def _instead(self) -> str:
        """What else can be done with a folder that exists."""
        if not runs.is_run(self.folder):
            return ", or delete it by hand"
        return f", go on with --resume {self.folder}, or replace it with --overwrite"


def start_run(
    program: str,
    arguments: list[str] | None,
    parse_run: Callable[[list[str]], tuple[Any, Path]],
    read_settings: Callable[[Path], Any],
    build: Callable[[Any], Any],
    run: Callable[[Any, Place, Any, Digits, Fabric], None],
) -> int:
    """Reads the settings, makes a pair, loads the data, and makes the run in a folder of its own.

    Args:
        program: Name of the program in `experiments`.
        arguments: Words of the command line; None for those of this process.
        parse_run: Reads the settings and the run's folder from them.
        read_settings: Reads the settings of a folder's run.
        build: Makes what is trained of the settings.
        run: Trains and measures, given settings, place, what is trained, data and fabric.

    Returns:
        The program's exit code.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for name in ("datasets", "training.steps"):
        logging.getLogger(f"pyro_mivae.{name}").setLevel(logging.INFO)
    try:
        config, folder = parse_run(sys.argv[1:] if arguments is None else arguments)
        training = config.training
        fabric = make_fabric(training.device, devices=getattr(training, "devices", 1))
        if not fabric.is_global_zero:
            logging.disable(logging.WARNING)
            # Waits for the first process, which finds what is wrong and makes the folder.
            parallel.launch(fabric)
        pair = build(config)
        name = config.data.data if config.output.resume is None else data_of(folder, config.data)
        digits = load_digits(name, data_dir=config.data.data_dir)
    except (ValueError, OSError, RuntimeError) as error:
        return fail(error)
    this = OneRun(program, config, folder, digits, read_settings)
    return this.start(fabric, lambda place: run(config, place, pair, digits, fabric))


def fail(error: Exception | str) -> int:
    """Prints an error; returns the program's exit code."""
    print(f"error: {error}", file=sys.stderr)
    return 1
